"""A lab's containers, as the Docker engine tells of them."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmlab.errors import EnvironmentFailure
from llmlab.shell import run

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
FOLDER = "com.docker.compose.project.working_dir"
SERVICES = ("llmapi", "nginx", "waf", "jupyter")
ONE_OFF = "com.docker.compose.oneoff"
VERSION = "org.opencontainers.image.version"
PATIENCE = 30  # seconds that the engine may take for one answer


@dataclass(frozen=True)
class Container:
    """One container of a lab. ``uptime`` in seconds, ``memory_limit`` in bytes, 0 for none."""

    id: str
    project: str
    service: str
    image: str
    labels: Mapping[str, str]
    state: str  # created, running, restarting, exited, dead, paused
    health: str  # starting, healthy, unhealthy; "" without a health check
    exit_code: int
    oom_killed: bool
    restarts: int
    restart_policy: str
    pid: int | None
    uptime: float
    started: str
    memory_limit: int
    published: tuple[str, int] | None  # (address, port) on this machine

    @property
    def healthy(self) -> bool:
        return self.state == "running" and self.health in ("healthy", "")

    @property
    def alive(self) -> bool:
        """Whether it has processes, or is about to: then it holds its port on this machine."""
        return self.state not in ("created", "exited", "dead")


class DockerEngine:
    """The Docker engine that the ``docker`` command would talk to.

    Raises:
        EnvironmentFailure: no engine answers.
    """

    def __init__(self) -> None:
        import docker
        from docker.errors import DockerException

        try:
            self._client: Any = docker.DockerClient(**_where(), version="auto", timeout=PATIENCE)
        except DockerException as error:
            raise EnvironmentFailure(
                f"no Docker engine answers: {_first_line(error)}",
                fix="start Docker, or llmlab up --engine local",
            ) from None

    @property
    def version(self) -> str:
        return str(self._client.version()["Version"])

    def has_images(self, names: Sequence[str]) -> bool:
        from docker.errors import ImageNotFound

        try:
            for name in names:
                self._client.images.get(name)
        except ImageNotFound:
            return False
        return True

    def image_label(self, name: str, label: str) -> str:
        """What an image is labelled with; "" without that label."""
        return str(self._client.images.get(name).labels.get(label, ""))

    def containers(self, root: Path) -> list[Container]:
        """All containers of the lab in ``root``, whatever project name they were started under.

        Only the lab's own services: a person may run more from the same folder.
        """
        found = [
            self.inspect(one["Id"]) for one in self._listed() if is_of_lab(one["Labels"], root)
        ]
        there = [one for one in found if one]  # the others went while we looked
        return sorted(there, key=lambda one: one.service)

    def _listed(self) -> Any:
        return self._client.api.containers(all=True, filters={"label": [PROJECT]})

    def projects_elsewhere(self, root: Path) -> set[str]:
        """Names of Compose projects of other folders."""
        labels = [one["Labels"] for one in self._listed()]
        return {one[PROJECT] for one in labels if not _is_in(one, root)}

    def succeeds(self, container: Container, command: Sequence[str]) -> bool:
        """Whether a command in a running container ends with exit code 0."""
        from docker.errors import APIError

        try:
            done = self._client.containers.get(container.id).exec_run(list(command))
        except APIError:
            return False
        return bool(done.exit_code == 0)

    def output_of(self, container: Container, command: Sequence[str]) -> str:
        """What a command in a running container prints; "" if it fails."""
        from docker.errors import APIError

        with contextlib.suppress(APIError):
            done = self._client.containers.get(container.id).exec_run(list(command))
            if done.exit_code == 0:
                return str(done.output.decode(errors="replace"))
        return ""

    def sdk_container(self, container: Container) -> Any:
        """What the Docker SDK knows it as; None if it is gone."""
        from docker.errors import NotFound

        try:
            return self._client.containers.get(container.id)
        except NotFound:
            return None

    def memory(self, container: Container) -> int:
        """Bytes that a running container uses, without the page cache."""
        from docker.errors import APIError

        # ValueError: of one that ends meanwhile, Docker sends an empty page.
        with contextlib.suppress(APIError, ValueError):
            told = self._client.api.stats(container.id, stream=False, one_shot=True)
            used = told.get("memory_stats", {})
            inactive = used.get("stats", {})
            cache = inactive.get("total_inactive_file", inactive.get("inactive_file", 0))
            return max(0, int(used.get("usage", 0)) - int(cache))
        return 0

    def titles(self, container: Container) -> dict[str, str]:
        """pid -> command line of a container's processes."""
        from docker.errors import APIError

        with contextlib.suppress(APIError):
            told = self._client.api.top(container.id, ps_args="-eo pid,args")
            return {row[0]: row[1] for row in told["Processes"] or []}
        return {}

    def start(self, identifier: str) -> None:
        self._client.containers.get(identifier).start()

    def inspect(self, identifier: str) -> Container | None:
        """A container by its id; None if it is gone."""
        from docker.errors import NotFound

        try:
            return _read(self._client.containers.get(identifier).attrs)
        except NotFound:
            return None

    def events(self, since: float) -> Any:
        """What happened to Compose's containers since then (seconds since 1970), and what does from
        now on: one dictionary after the other."""
        wanted = {
            "type": "container", "event": ["die", "stop", "destroy", "oom"], "label": [PROJECT],
        }  # fmt: skip
        # Without a deadline: nothing may happen for days.
        self._client.api.timeout = None
        return self._client.events(since=int(since), decode=True, filters=wanted)


def is_of_lab(labels: Mapping[str, str], root: Path) -> bool:
    """Whether a container with these labels is one of the lab's services."""
    service = labels.get(SERVICE, "")
    named = service in SERVICES or service.startswith(("llmapi-", "llmapi."))
    return named and labels.get(ONE_OFF, "False") != "True" and _is_in(labels, root)


def _is_in(labels: Mapping[str, str], root: Path) -> bool:
    # Compose labels with the folder as it was called, which may be by a link.
    return bool(labels.get(FOLDER)) and Path(labels[FOLDER]).resolve() == root


def _where() -> dict[str, str]:
    """The engine of the current context, which the SDK does not look at by itself."""
    if os.environ.get("DOCKER_HOST"):
        from docker.utils import kwargs_from_env

        return dict(kwargs_from_env())
    with contextlib.suppress(EnvironmentFailure, ValueError, KeyError, IndexError):
        told = run(["docker", "context", "inspect"], timeout=PATIENCE)
        return {"base_url": json.loads(told.output)[0]["Endpoints"]["docker"]["Host"]}
    return {}


def _read(attrs: Mapping[str, Any]) -> Container:
    state, labels = attrs["State"], attrs["Config"]["Labels"] or {}
    running = state["Status"] == "running"
    return Container(
        id=attrs["Id"], project=labels.get(PROJECT, ""), service=labels.get(SERVICE, ""),
        image=attrs["Config"]["Image"], labels=labels,
        state=state["Status"], health=state.get("Health", {}).get("Status", ""),
        exit_code=state["ExitCode"], oom_killed=state["OOMKilled"],
        restarts=attrs["RestartCount"],
        restart_policy=attrs["HostConfig"]["RestartPolicy"]["Name"], pid=state["Pid"] or None,
        uptime=_seconds_since(state["StartedAt"]) if running else 0.0,
        started=state["StartedAt"], memory_limit=attrs["HostConfig"]["Memory"],
        published=_published(attrs),
    )  # fmt: skip


def _published(attrs: Mapping[str, Any]) -> tuple[str, int] | None:
    for bindings in (attrs["HostConfig"].get("PortBindings") or {}).values():
        for one in bindings or []:
            if one.get("HostPort"):
                return one.get("HostIp") or "0.0.0.0", int(one["HostPort"])  # noqa: S104
    return None


def _seconds_since(moment: str) -> float:
    # Docker writes nanoseconds, Python reads microseconds.
    started = datetime.fromisoformat(moment[:19]).replace(tzinfo=UTC)
    return max(0.0, (datetime.now(UTC) - started).total_seconds())


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
