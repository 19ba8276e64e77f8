"""The console as one of a lab's processes, under every engine, and how it is."""

from __future__ import annotations

import re
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmlab.engines.local.supervisor import Supervisor
from llmlab.engines.local.supervisor_conf import Program
from llmlab.files import write_atomically
from llmlab.gateway.console import cookie
from llmlab.gateway.plan import ConsoleFront
from llmlab.lab import private_folder

if TYPE_CHECKING:
    from llmlab.config import Config
    from llmlab.lab import Lab

NAME = "console"
CONF, MOUNT = "lab/console.conf", "/run/console"  # of nginx.conf, of docker-compose.yml
SECRET = 32  # bytes
WHOLE_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")  # as base64url
STOP_WAIT = 8  # seconds; it ends its streams within 3


@dataclass(frozen=True)
class ConsoleStatus:
    """``url``: where a browser finds it. ``state``: of its process. ``healthy``: it takes
    connections."""

    url: str
    state: str
    healthy: bool


def console_programs(lab: Lab, config: Config, engine: str) -> list[Program]:
    """The process, where there is to be one."""
    if why_none(lab, config, engine):
        return []
    socket = str(socket_of(lab, engine))
    command = (sys.executable, "-P", "-m", "llmlab.console", str(lab.root), "--socket", socket)
    return [Program(NAME, command, stop_wait=STOP_WAIT)]


def console_front(lab: Lab, config: Config, engine: str) -> ConsoleFront | None:
    """What the gateway is told of it."""
    if why_none(lab, config, engine):
        return None
    seen = Path(MOUNT, lab.console_socket.name) if engine == "compose" else lab.console_socket
    return ConsoleFront(f"unix:{seen}", cookie(config.gateway.port), secret_of(lab))


def secret_of(lab: Lab) -> str:
    """What the gateway proves itself by; made where there is none. It is kept: another one at each
    `llmlab up` would be another configuration, and a reload that nothing is the reason for."""
    if not read_secret(lab):
        private_folder(lab.console_secret.parent)
        write_atomically(lab.console_secret, secrets.token_urlsafe(SECRET))
    return read_secret(lab)


def read_secret(lab: Lab) -> str:
    """ "" where there is none, or none that is whole."""
    try:
        found = lab.console_secret.read_text(encoding="ascii")
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
    return found if WHOLE_SECRET.fullmatch(found) else ""


def without_secret(lab: Lab, text: str) -> str:
    """A text that people look at, without what the gateway proves itself by."""
    secret = read_secret(lab)
    return text.replace(secret, "********") if secret else text


def why_none(lab: Lab, config: Config, engine: str) -> tuple[str, str] | None:
    """Why a lab has no console, and what to do about it; None for one that has."""
    again = "then llmlab up"
    if not config.has_console:
        gateway, on = config.gateway, f'enabled = "on" in [console] of configs/lab.toml, {again}'
        if config.console.enabled == "off":
            return "it is switched off", on
        return f"the gateway listens beyond this machine, at {gateway.host}", on
    init = "llmlab init FOLDER lays out one that does; take over what differs, " + again
    if not _uses(lab.nginx_conf, CONF):
        return f"nginx.conf is that of an earlier lab, and does not use {CONF}", init
    if engine == "compose" and not _uses(lab.root / "docker-compose.yml", MOUNT):
        return f"docker-compose.yml is that of an earlier lab, and mounts no {MOUNT}", init
    return None


def unserved(lab: Lab, config: Config, engine: str) -> tuple[str, ...]:
    """A warning where there should be a console, and the lab's own files have no place for one."""
    none = why_none(lab, config, engine) if config.has_console else None
    return (f"There is no console: {none[0]}.\nFix: {none[1]}",) if none else ()


def _uses(file: Path, word: str) -> bool:
    try:
        return word in re.sub(r"(?m)(^|\s)#.*$", "", file.read_text(encoding="utf-8"))
    except OSError:
        return False


@dataclass(frozen=True)
class Looking:
    """``console``: None where there is to be none."""

    console: ConsoleStatus | None = None
    warnings: tuple[str, ...] = ()


def looking(lab: Lab) -> Looking:
    """How it is, of a lab that is up. Nothing else of a lab needs it, so nothing else is unwell
    without it."""
    from llmlab.engines.probe import can_be_reached
    from llmlab.engines.record import Record

    record = Record.read(lab)
    config = record.plan().config if record else None
    if record is None or config is None or why_none(lab, config, record.engine):
        return Looking()
    state = Supervisor(lab).state(NAME).state
    healthy = state == "RUNNING" and can_be_reached(socket_of(lab, record.engine))
    found = ConsoleStatus(f"{record.url}/console/", state, healthy)
    if healthy or state == "STARTING":
        return Looking(found)
    return Looking(found, (f"the console does not answer\nFix: llmlab logs {NAME}",))


def socket_of(lab: Lab, engine: str) -> Path:
    """Where it listens, as this machine sees it."""
    return lab.compose_console_socket if engine == "compose" else lab.console_socket


def active_release(lab: Lab) -> str:
    """Names the configuration that the gateway goes by, and whether it does yet."""
    from llmlab.engines.record import Record

    record = Record.read(lab)
    if record and record.engine == "compose":
        from llmlab.engines.compose.mounts import releases

        return releases(lab).standing()
    from llmlab.gateway import Releases

    return Releases(lab.state / "gateway", lab.runtime_dir / "nginx").standing()
