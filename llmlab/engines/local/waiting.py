"""Waiting for a supervised process, with what its log says when it does not come."""

from __future__ import annotations

import time

from llmlab.engines import follow as following
from llmlab.engines.local.supervisor import Supervisor
from llmlab.errors import EnvironmentFailure
from llmlab.shell import last_lines

POLL = 0.1


def pause(supervisor: Supervisor, program: str, deadline: float, *, fix: str) -> None:
    """Wait a moment for a process that does not answer yet.

    Raises:
        EnvironmentFailure: it has given up, or ``deadline`` (monotonic seconds) is over.
    """
    state = supervisor.state(program).state
    if state in ("FATAL", "EXITED"):
        raise EnvironmentFailure(
            f"{program} does not start ({state})", fix=fix, log=why(supervisor, program)
        )
    if time.monotonic() > deadline:
        raise EnvironmentFailure(
            f"{program} did not answer in time ({state})", log=why(supervisor, program)
        )
    time.sleep(POLL)


def why(supervisor: Supervisor, program: str) -> str:
    """The last lines that a process wrote."""
    logs = (supervisor.error_log(program), supervisor.log(program))
    lines = [line for log in logs for line in last_lines(log).splitlines()]
    return "\n".join(following.readable(line) for line in lines)
