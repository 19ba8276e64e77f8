"""A lab's Compose project: what is there of it, how Compose is called, and waiting for it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import cached_property

from llmlab.config import Config
from llmlab.config.schema import Jupyter
from llmlab.engines.base import Plan, Say
from llmlab.engines.compose import observability, waf
from llmlab.engines.compose.command import Compose, default_project, find_program
from llmlab.engines.compose.containers import Container, DockerEngine
from llmlab.engines.compose.edition import compose_files, gateway_image
from llmlab.engines.compose.images import BuiltImages
from llmlab.engines.compose.incidents import Incidents, out_of_memory
from llmlab.engines.compose.logs import last_lines, log_name
from llmlab.engines.compose.notebook import JUPYTER, variables
from llmlab.engines.compose.report import ENGINE
from llmlab.engines.planning import make_plan
from llmlab.engines.record import Record
from llmlab.errors import EnvironmentFailure
from llmlab.lab import Lab
from llmlab.registry.catalogue import load_lab
from llmlab.shell import Result, run

UP = ("up", "--detach", "--no-build")
READY_DEADLINE = 180.0  # seconds; a large model on a slow disk
COMMAND_DEADLINE = 120.0
POLL = 0.3


class Project:
    """Of one lab. Nothing here decides what should run."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.incidents = Incidents(lab)

    # --- what is there ---------------------------------------------------------

    @cached_property
    def docker(self) -> DockerEngine:
        return DockerEngine()

    def containers(self) -> list[Container]:
        return self.docker.containers(self.lab.root)

    def container(self, service: str) -> Container | None:
        return next((one for one in self.containers() if one.service == service), None)

    def record(self) -> Record | None:
        """What this engine started last."""
        record = Record.read(self.lab)
        return record if record and record.engine == ENGINE else None

    def config(self) -> Config:
        """What runs was started with; for a lab that a person started, what lab.toml says."""
        record = self.record()
        if record is not None:
            return record.plan().config
        return load_lab(self.lab, environ=os.environ).config

    def running_plan(self) -> Plan:
        """What runs; of a lab started by `docker compose up`, what it was laid out for."""
        record = self.record()
        if record is not None:
            return record.plan()
        config = self.config()
        return make_plan(
            config, self.lab.root, lambda _: None, only=[config.stable], fetch=False,
            runs_here=False,
        )  # fmt: skip

    # --- what Compose is told --------------------------------------------------

    def compose(self, plan: Plan | None = None) -> Compose:
        """Compose for this lab, filled in as ``plan`` says; as it runs, without one."""
        config = plan.config if plan else self.config()
        return Compose(
            self.lab, self.name(), find_program(), self._variables(config, plan is not None),
            compose_files(config),
        )  # fmt: skip

    def name(self) -> str:
        """What runs is called so, or Compose's own choice unless it is another lab's."""
        for one in self.containers():
            return one.project
        name = default_project(self.lab.root)
        if name in self.docker.projects_elsewhere(self.lab.root):
            return f"{name}-{self.lab.runtime_dir.name[:6]}"
        return name

    def _variables(self, config: Config, to_start: bool) -> dict[str, str]:
        images = BuiltImages.read(self.lab)
        found = {
            "LLMAPI_IMAGE": images.llmapi, "NGINX_IMAGE": gateway_image(config, images.nginx),
        }  # fmt: skip
        if not to_start:
            return found
        gateway = config.gateway
        host = f"[{gateway.host}]" if ":" in gateway.host else gateway.host
        return found | {
            "LLMLAB_HOST": host,
            "LLMLAB_PORT": str(gateway.port),
            "LLMAPI_MEMORY": config.service.memory,
            **self.notebook_variables(config.jupyter),
            **observability.variables(config.observability),
            **waf.variables(gateway.waf, images.waf),
        }

    def notebook_variables(self, jupyter: Jupyter, port: int | None = None) -> dict[str, str]:
        """``port``: where on this machine; default: where it runs already, else as configured."""
        one = self.container(JUPYTER)
        there = one.published[1] if one and one.published else None
        wanted = jupyter.model_copy(update={"port": port or there or jupyter.port})
        return variables(wanted, BuiltImages.read(self.lab).jupyter)

    def run(self, command: Sequence[str], *, extra: float = 0.0) -> Result:
        """Run one of ``Compose``'s command lines.

        Args:
            extra: seconds beyond what Compose itself may take.

        Raises:
            EnvironmentFailure: it failed; with what it said last.
        """
        result = run(command, timeout=COMMAND_DEADLINE + extra, cwd=self.lab.root)
        if result.code != 0:
            raise EnvironmentFailure(
                f"docker compose failed with exit code {result.code}",
                fix="llmlab doctor --engine compose",
                log=last_of(result),
            )
        return result

    # --- waiting ---------------------------------------------------------------

    def wait(self, services: Sequence[str], seconds: float, say: Say) -> None:
        """Until all of them are healthy.

        Raises:
            EnvironmentFailure: one is not, and will not be.
        """
        deadline = time.monotonic() + seconds
        for service in services:
            say(f"waiting for {service}")
            while not ((one := self.container(service)) and one.healthy):
                self._check_waiting(service, one, deadline)
                time.sleep(POLL)

    def _check_waiting(self, service: str, one: Container | None, deadline: float) -> None:
        late = time.monotonic() > deadline
        if one is not None and (one.oom_killed or self.incidents.of(service)):
            raise out_of_memory(log_name(one), one.memory_limit)
        if one is not None and (one.restarts or one.state in ("exited", "dead")):
            raise EnvironmentFailure(
                f"{log_name(one)} does not start (exit code {one.exit_code})",
                fix="llmlab up --model NAME starts another model",
                log=last_lines(self.compose(), service),
            )
        if late:
            state = f"{one.state}, {one.health}" if one else "not there"
            raise EnvironmentFailure(
                f"{service} did not answer in time ({state})",
                log=last_lines(self.compose(), service),
            )


def last_of(result: Result) -> str:
    """What a command said last, for an error."""
    return "\n".join(result.output.strip().splitlines()[-12:])
