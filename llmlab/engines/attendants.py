"""Processes that run beside a lab's own for as long as they have something to do: for now the
one that drives a rollout. It ends by itself; the engines start it and leave it alone."""

from __future__ import annotations

import json
import sys

from llmlab.delivery.store import Store
from llmlab.engines.local.supervisor import ATTENDANTS, Program, Supervisor
from llmlab.errors import UpstreamError
from llmlab.lab import Lab

(CONTROLLER,) = ATTENDANTS
ROLLOUT = "rollout"  # name of the row that says whether a rollout is unfinished


def attendants(lab: Lab) -> list[Program]:
    """Those that have something to do, and so belong to a lab that is up."""
    return [_controller(lab)] if rollout_is_unfinished(lab) else []


def attend(lab: Lab) -> None:
    """Have them running now, in a lab that is up.

    Raises:
        UpstreamError: it is not.
    """
    supervisor = Supervisor(lab)
    if not supervisor.running():
        raise UpstreamError(
            "the lab does not run, and nothing can be driven in it", fix="llmlab up"
        )
    for program in attendants(lab):
        supervisor.put(program)


def rollout_is_unfinished(lab: Lab) -> bool:
    with Store(lab).database.reading() as connection:
        row = connection.execute("SELECT document FROM state WHERE name = ?", (ROLLOUT,)).fetchone()
    return bool(row and json.loads(row["document"])["unfinished"])


def _controller(lab: Lab) -> Program:
    command = (sys.executable, "-P", "-m", "llmlab.rollout.controller", str(lab.root))
    return Program(CONTROLLER, command, final_exit=0)
