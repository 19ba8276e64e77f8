"""The WAF in a container, the profile `waf` of docker-compose.yml."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from llmlab.config.waf import Waf
from llmlab.errors import UsageError
from llmlab.files import write_atomically
from llmlab.lab import Lab, private_folder
from llmlab.waf.rules import RULES_CONF, Place, render

if TYPE_CHECKING:
    from llmlab.engines.base import Say
    from llmlab.engines.compose.command import Compose
    from llmlab.engines.compose.project import Project

SERVICE = "waf"
PROFILE = ("--profile", SERVICE)
UP = (*PROFILE, "up", "--detach", "--no-build", "--no-deps", SERVICE)
REMOVE = (*PROFILE, "rm", "--stop", "--force", SERVICE)
DEADLINE = 60.0  # seconds; it reads some 800 rules
IMAGE = "llmlab-waf"
SOCKET = "/run/waf/waf.sock"  # in a volume that it and the gateway have
MOUNT = "/etc/llmlab-waf"
OPEN_FOLDER, OPEN_FILE = 0o755, 0o644


def commands(compose: Compose, waf: Waf) -> list[list[str]]:
    """What ``up`` runs for it."""
    return [compose.command(*UP, with_override=True)] if waf.enabled else []


def start(project: Project, compose: Compose, waf: Waf, say: Say) -> None:
    """Have it running, and wait until it looks at requests, before the gateway asks it.

    Raises:
        EnvironmentFailure: it does not come.
    """
    if waf.enabled:
        project.run(compose.command(*UP))
        project.wait([SERVICE], DEADLINE, say)


def remove_unwanted(project: Project, compose: Compose, waf: Waf) -> None:
    """Once the gateway asks it no more."""
    if not waf.enabled and project.container(SERVICE):
        project.run(compose.command(*REMOVE))


def lay_out(lab: Lab, waf: Waf) -> None:
    """What its container mounts. There is no secret in it.

    Raises:
        UsageError: the lab's docker-compose.yml is from before, and has no such service.
    """
    if not waf.enabled:
        return
    file = lab.root / "docker-compose.yml"
    if f"{MOUNT}:ro" not in file.read_text(encoding="utf-8"):
        raise UsageError(
            f"{file.name} has no service {SERVICE}: it is from before there was a WAF",
            fix="llmlab init FOLDER lays out one that has; take over what differs, then llmlab up",
        )
    folder = private_folder(private_folder(lab.state / "compose") / SERVICE, OPEN_FOLDER)
    for name, text in _rendered(waf).items():
        write_atomically(folder / name, text, OPEN_FILE)


def variables(waf: Waf, image: str) -> Mapping[str, str]:
    """What docker-compose.yml asks of the environment for it."""
    if not waf.enabled:
        return {}
    made_of = "\0".join(_rendered(waf).values())
    return {"WAF_IMAGE": image, "WAF_RULES": hashlib.sha256(made_of.encode()).hexdigest()[:12]}


def _rendered(waf: Waf) -> dict[str, str]:
    return render(waf, Place(f"unix:{SOCKET}", f"{MOUNT}/{RULES_CONF}"))
