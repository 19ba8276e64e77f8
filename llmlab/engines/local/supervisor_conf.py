"""supervisord's configuration: a section for each program of a lab."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmlab.engines.local import launch
from llmlab.lab import Lab
from llmlab.rotation import LOG_BACKUPS, LOG_BYTES

PROGRAM = re.compile(r"\[program:([^\]]+)\]")


@dataclass(frozen=True)
class Program:
    """A process to keep running.

    ``final_exit`` is an exit code after which it must not be started again. Once it was told
    to stop it has ``stop_wait`` seconds to end what it does.
    """

    name: str
    command: tuple[str, ...]
    stop_signal: str = "TERM"
    final_exit: int | None = None
    priority: int = 999
    stop_wait: int = 12


def sections_in(file: Path) -> dict[str, str]:
    """Program -> its section, as it was written last."""
    sections = re.split(r"(?m)^(?=\[)", file.read_text(encoding="utf-8"))
    found = [(PROGRAM.match(section), section) for section in sections]
    return {head[1]: section for head, section in found if head}


def configuration(lab: Lab, socket: Path, programs: Sequence[str]) -> str:
    """All of it, given the sections of its programs."""
    sections = [
        _section("supervisord", {
            "logfile": "logs/supervisord.log", "logfile_maxbytes": LOG_BYTES,
            "logfile_backups": LOG_BACKUPS, "pidfile": lab.runtime_dir / "supervisord.pid",
            "umask": "077", "strip_ansi": "true",
            **({"user": "root"} if os.geteuid() == 0 else {}),
        }),
        _section("unix_http_server", {"file": socket, "chmod": "0700"}),
        _section("rpcinterface:supervisor", {
            "supervisor.rpcinterface_factory":
                "supervisor.rpcinterface:make_main_rpcinterface",
        }),
        *programs,
    ]  # fmt: skip
    return "\n".join(section.rstrip("\n") + "\n" for section in sections)


def section_of(program: Program) -> str:
    return _section(f"program:{program.name}", {
        "command": _quoted(launch.command(program.name, program.stop_wait, program.command)),
        "priority": program.priority,
        "startsecs": 1, "startretries": 5,
        "autorestart": "unexpected" if program.final_exit is not None else "true",
        **({"exitcodes": program.final_exit} if program.final_exit is not None else {}),
        "stopsignal": program.stop_signal, "stopwaitsecs": program.stop_wait,
        "killasgroup": "true",
        # No request may wait for somebody to read a pipe: see `launch`.
        "stdout_logfile": "NONE", "stderr_logfile": "NONE",
    })  # fmt: skip


def _quoted(command: Sequence[str]) -> str:
    """A command line for shlex, in which no `;` or `#` follows a space: supervisord would
    take it for the start of a comment, in quotes or not."""
    return shlex.join(command).replace(" ;", " '';").replace(" #", " ''#")


def _section(name: str, values: dict[str, Any]) -> str:
    # `%` starts an expansion in supervisord's configuration.
    lines = [f"{key}={str(value).replace('%', '%%')}" for key, value in values.items()]
    return "\n".join([f"[{name}]", *lines]) + "\n"
