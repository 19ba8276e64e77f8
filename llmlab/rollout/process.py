"""The controller as one of a lab's supervised processes."""

from __future__ import annotations

import fcntl
import time
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager

from llmlab.engines.attendants import CONTROLLER, attend
from llmlab.engines.local.supervisor import Supervisor
from llmlab.errors import LlmlabError
from llmlab.lab import Lab

LOCK = "rollout.lock"  # held by the process that drives the lab's rollouts
TAKES_OVER_WITHIN = 15.0  # seconds; a new process has to import a good deal
POLL = 0.05


@contextmanager
def only_driver(lab: Lab) -> Iterator[bool]:
    """Be the one who drives the lab's rollouts, for as long as the body runs; gives False if
    somebody else is."""
    lab.make_state()
    with (lab.state / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def start_controller(lab: Lab) -> bool:
    """Have the controller drive the rollout that is unfinished.

    One that was about to leave, because there was nothing to do before, is replaced.

    Returns:
        Whether there is one; without a supervisor there is not.
    """
    supervisor, deadline = Supervisor(lab), time.monotonic() + TAKES_OVER_WITHIN
    try:
        attend(lab)
        while not _is_driven(lab):
            if time.monotonic() > deadline:
                return False
            if supervisor.state(CONTROLLER).state not in ("RUNNING", "STARTING", "BACKOFF"):
                attend(lab)
            time.sleep(POLL)
    except (OSError, xmlrpc.client.Error, LlmlabError):
        return False
    return True


def _is_driven(lab: Lab) -> bool:
    with only_driver(lab) as nobody_else:
        return not nobody_else
