"""The console as one of a lab's processes, under every engine, and how it is."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmlab.engines.local.supervisor_conf import Program
from llmlab.gateway.console import cookie
from llmlab.gateway.plan import ConsoleFront

if TYPE_CHECKING:
    from llmlab.config import Config
    from llmlab.lab import Lab

NAME = "console"
STOP_WAIT = 8  # seconds; it ends its streams within 3


@dataclass(frozen=True)
class ConsoleStatus:
    """``url``: where a browser finds it. ``state``: of its process. ``healthy``: it takes
    connections."""

    url: str
    state: str
    healthy: bool


def console_programs(lab: Lab, config: Config, socket: Path) -> list[Program]:
    """The process, where there is to be one."""
    command = (sys.executable, "-P", "-m", "llmlab.console", str(lab.root), "--socket", str(socket))
    return [Program(NAME, command, stop_wait=STOP_WAIT)] if config.has_console else []


def console_front(config: Config, address: str) -> ConsoleFront | None:
    """What the gateway is told of it.

    Args:
        address: as the gateway finds its socket.
    """
    return ConsoleFront(address, cookie(config.gateway.port)) if config.has_console else None


def active_release(lab: Lab) -> str:
    """The configuration that the gateway goes by; "" where none is laid out."""
    from llmlab.engines.record import Record

    record = Record.read(lab)
    if record and record.engine == "compose":
        from llmlab.engines.compose.mounts import releases

        return releases(lab).active()
    from llmlab.gateway import Releases

    return Releases(lab.state / "gateway", lab.runtime_dir / "nginx").active()
