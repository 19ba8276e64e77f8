"""Processes that run beside a lab's own for as long as they have something to do: the one that
drives rollouts, and the one that scales deployments. They end by themselves; the engines start them
and leave them alone."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from llmlab.engines.base import Plan
from llmlab.engines.local.supervisor import ATTENDANTS, Supervisor
from llmlab.engines.local.supervisor_conf import Program
from llmlab.engines.record import Record
from llmlab.engines.scale_bounds import are_scaled
from llmlab.errors import LlmlabError, UpstreamError
from llmlab.lab import Lab
from llmlab.ledger.store import Store

CONTROLLER, SCALER = ATTENDANTS
AGAIN, OFTEN = 600.0, 4  # so many starts within so many seconds are worth a word
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


def scalers(lab: Lab, plan: Plan) -> list[Program]:
    """What scales the deployments of a plan that is in force; none where none has bounds."""
    if not are_scaled(plan):
        return []
    command = (sys.executable, "-P", "-m", "llmlab.scaling.process", str(lab.root))
    return [Program(SCALER, command, final_exit=0)]


@dataclass(frozen=True)
class Attendance:
    """How they are: ``controller`` is its state, "" where there is nothing for it to do.
    ``healthy`` unless a rollout goes on, or may go on, that nobody watches."""

    controller: str = ""
    healthy: bool = True
    warnings: tuple[str, ...] = ()


def attendance(lab: Lab) -> Attendance:
    """Of a lab that is up. A file that is damaged is told, not raised."""
    supervisor = Supervisor(lab)
    again = tuple(
        f"{name} was started {count} times within {AGAIN / 60:.0f} minutes\nFix: llmlab logs {name}"
        for name, count in supervisor.starts(AGAIN).items()
        if count >= OFTEN
    )
    if unscaled := _unscaled(lab, supervisor):
        again = (unscaled, *again)
    well = not unscaled
    process = supervisor.state(CONTROLLER)
    try:
        unfinished = rollout_is_unfinished(lab)
    except LlmlabError as error:
        said = f"nobody can watch a rollout: {error.message}\nFix: {error.fix}"
        return Attendance(process.state if process.name else "", False, (said, *again))
    if not unfinished:
        return Attendance(healthy=well, warnings=again)
    if process.state in ("RUNNING", "STARTING"):
        return Attendance(process.state, well, again)
    said = "a rollout is under way, and nobody watches it\nFix: llmlab up; llmlab logs controller"
    return Attendance(process.state, False, (said, *again))


def _unscaled(lab: Lab, supervisor: Supervisor) -> str:
    """What is wrong where replicas are to follow what is asked, and nobody moves them; else ""."""
    record = Record.read(lab)
    names = are_scaled(record.plan()) if record else []
    if not names or supervisor.state(SCALER).state in ("RUNNING", "STARTING"):
        return ""
    return f"nobody scales {', '.join(names)}\nFix: llmlab up; llmlab logs {SCALER}"


def rollout_is_unfinished(lab: Lab) -> bool:
    with Store(lab).database.reading() as connection:
        row = connection.execute("SELECT document FROM state WHERE name = ?", (ROLLOUT,)).fetchone()
    return bool(row and json.loads(row["document"])["unfinished"])


def _controller(lab: Lab) -> Program:
    command = (sys.executable, "-P", "-m", "llmlab.rollout.controller", str(lab.root))
    return Program(CONTROLLER, command, final_exit=0)
