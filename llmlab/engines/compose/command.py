"""The command lines of Docker Compose for one lab. Nothing here runs them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llmlab.errors import EnvironmentFailure
from llmlab.lab import Lab
from llmlab.shell import run

OVERRIDE = Path("compose", "engine.json")  # below the lab's state; JSON is YAML
PATIENCE = 10.0


@dataclass(frozen=True)
class Compose:
    """How Compose is called for a lab.

    Args:
        program: ``docker compose``, or ``docker-compose`` where only v1 is there.
        variables: what docker-compose.yml is filled in with.
        files: the hand-written files of the project, relative to the lab.
    """

    lab: Lab
    project: str
    program: tuple[str, ...] = ("docker", "compose")
    variables: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[str] = ("docker-compose.yml",)

    @property
    def override(self) -> Path:
        """What the CLI adds to docker-compose.yml: further models, and what they are made of."""
        return self.lab.state / OVERRIDE

    def command(self, *arguments: str, with_override: bool | None = None) -> list[str]:
        """The argument list of ``docker compose ARGUMENTS``."""
        files = [str(self.lab.root / file) for file in self.files]
        if self.override.exists() if with_override is None else with_override:
            files.append(str(self.override))
        return [
            "env", *(f"{name}={value}" for name, value in self.variables.items()),
            *self.program, "--project-name", self.project,
            *(part for file in files for part in ("--file", file)), *arguments,
        ]  # fmt: skip


@dataclass(frozen=True)
class GatewayImage:
    """The gateway's image as an NGINX that judges a configuration; see ``Checker``."""

    compose: Compose
    mount: str

    def command(self, prefix: Path, conf: Path, *options: str) -> list[str]:
        """``conf`` as the host sees it; its release is found below the mount."""
        inside = f"{self.mount}/{conf.parent.name}/{conf.name}"
        return self.compose.command(
            "run", "--rm", "--no-deps", "-T", "nginx", "-c", inside, *options, with_override=False
        )


def find_program() -> tuple[str, ...]:
    """Compose v2 as Docker's plugin, or else v1's program.

    Raises:
        EnvironmentFailure: neither is there.
    """
    for program in (("docker", "compose"), ("docker-compose",)):
        if shutil.which(program[0]) and run([*program, "version"], timeout=PATIENCE).code == 0:
            return program
    raise EnvironmentFailure(
        "Docker Compose is not installed", fix="install it, or llmlab up --engine local"
    )


def default_project(root: Path) -> str:
    """The name that Compose itself gives the project of a folder."""
    named = os.environ.get("COMPOSE_PROJECT_NAME", "")
    return named or re.sub(r"[^a-z0-9_-]", "", root.name.lower()).lstrip("_-") or "lab"


def forget_sockets(project: str) -> list[str]:
    """There is nothing in those volumes any more, and Compose would remove Prometheus's with
    them."""
    volumes = (f"{project}_{name}" for name in ("sockets", "desk", "wall"))
    return ["docker", "volume", "rm", "--force", *volumes]
