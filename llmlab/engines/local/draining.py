"""Ending API processes after their last request."""

from __future__ import annotations

import time
from collections.abc import Collection

from llmlab.engines import probe
from llmlab.engines.base import Say
from llmlab.engines.local.programs import API_PREFIX, GATEWAY
from llmlab.engines.local.supervisor import Supervisor
from llmlab.engines.local.waiting import POLL
from llmlab.lab import Lab
from llmlab.processes import leaving_workers


def drain(
    lab: Lab, supervisor: Supervisor, programs: Collection[str], seconds: float, say: Say
) -> None:
    """Wait until nobody needs these API processes any more; the gateway has moved already.

    First its old workers: until they are gone, a request on a connection from before may still
    be passed on. Then what the processes have in hand.

    Args:
        seconds: after which they are given up.
    """
    names = sorted(one.removeprefix(API_PREFIX) for one in programs if one.startswith(API_PREFIX))
    if not names:
        return
    say(f"waiting for the last requests of {', '.join(names)}")
    deadline = time.monotonic() + seconds
    master = supervisor.state(GATEWAY).pid
    while leaving_workers(master) and time.monotonic() < deadline:
        time.sleep(POLL)
    for name in names:
        while probe.is_needed(lab.api_socket(name)) and time.monotonic() < deadline:
            time.sleep(POLL)
