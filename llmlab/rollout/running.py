"""The running lab, as far as a rollout has to do with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from llmlab.config.load import read_config
from llmlab.delivery.applying import apply, route
from llmlab.engines.base import Engine, Say
from llmlab.engines.choice import running_engine
from llmlab.engines.local.programs import suffixes
from llmlab.engines.record import Record
from llmlab.errors import UpstreamError
from llmlab.lab import Lab
from llmlab.recording.sampling import Sample, tell

FRESH: Mapping[str, str] = {
    "Cache-Control": "no-cache, no-store", "Content-Type": "application/json",
}  # fmt: skip


class Running(Protocol):
    """What a rollout needs of the lab that runs. Every wait has a deadline."""

    def alive(self) -> bool:
        """Whether it runs at all."""
        ...

    def taken(self) -> int:
        """The revision of the traffic that the gateway goes by; -1 if nobody knows."""
        ...

    def lacks(self, deployments: Iterable[str]) -> str:
        """Why one of these does not run although it is wanted; "" if all do. `apply` goes on
        without one whose model cannot be had, as long as no request is meant for it."""
        ...

    def processes(self, deployment: str) -> list[str]:
        """The names by which ``ask`` knows all processes of a deployment."""
        ...

    def apply(self, say: Say) -> bool:
        """Bring deployments and gateway to the traffic that is wanted.

        Returns:
            Whether anything changed.

        Raises:
            LlmlabError: something does not come up; what served before goes on.
        """
        ...

    def route(self) -> bool:
        """Move the gateway alone; the deployments go on as they are."""
        ...

    def requests_since(self, cursor: str, *, after: float = 0.0) -> tuple[list[str], str]:
        """See ``Engine.requests_since``."""
        ...

    def remember(self, route: str, sample: Sample | None) -> None:
        """Have some of what a route is asked remembered for a while; nothing any more for None."""
        ...

    def never_paired(self, route: str) -> str:
        """See ``Config.never_paired``, as lab.toml is now.

        Raises:
            ConfigError: it cannot be read.
        """
        ...

    def ask(
        self, deployment: str, path: str, *, method: str = "GET", body: bytes = b"",
        timeout: float = 10.0, headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:  # fmt: skip
        """See ``Engine.ask``."""
        ...


class RunningLab:
    """A real one, under whichever engine."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._engine: Engine | None = None

    def alive(self) -> bool:
        self._engine = running_engine(self._lab)
        return self._engine is not None

    def taken(self) -> int:
        record = Record.read(self._lab)
        return record.plan().traffic.revision if record else -1

    def lacks(self, deployments: Iterable[str]) -> str:
        record = Record.read(self._lab)
        there, told = (record.deployments, record.warnings) if record else ([], [])
        for missing in (one for one in deployments if one not in there):
            why = [text for text in told if text.startswith(f"{missing} ")]
            return why[0].splitlines()[0] if why else f"{missing} does not run"
        return ""

    def processes(self, deployment: str) -> list[str]:
        record = Record.read(self._lab)
        count = record.plan().replicas(deployment) if record else 1
        return [deployment + suffix for suffix in suffixes(count)]

    def apply(self, say: Say) -> bool:
        return apply(self._lab, say)

    def route(self) -> bool:
        return route(self._lab)

    def requests_since(self, cursor: str, *, after: float = 0.0) -> tuple[list[str], str]:
        return self._running().requests_since(cursor, after=after)

    def remember(self, route: str, sample: Sample | None) -> None:
        tell(self._lab, route, sample)

    def never_paired(self, route: str) -> str:
        return read_config(self._lab.config_file).config.never_paired(route)

    def ask(
        self, deployment: str, path: str, *, method: str = "GET", body: bytes = b"",
        timeout: float = 10.0, headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:  # fmt: skip
        return self._running().ask(
            deployment, path, method=method, body=body, timeout=timeout, headers=headers or {}
        )

    def _running(self) -> Engine:
        if self._engine is None and not self.alive():
            raise UpstreamError("the lab does not run", fix="llmlab up")
        assert self._engine
        return self._engine
