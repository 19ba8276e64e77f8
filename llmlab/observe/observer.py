"""Looking at a running lab, again and again: at its processes, at the metrics of its APIs and
its gateway, and at what the gateway has logged since."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypedDict

from llmlab.engines.base import Engine
from llmlab.engines.local.programs import suffixes
from llmlab.engines.status import DeploymentStatus, LabStatus
from llmlab.errors import UpstreamError, unreadable
from llmlab.observe.access import read
from llmlab.observe.apis import ApiFigures, ApiRates, Progress
from llmlab.observe.samples import Samples
from llmlab.observe.waf import WafFigures
from llmlab.observe.window import KEPT, Glance, Seen, Window

PATIENCE = 5.0  # seconds that an API may take to tell its metrics


@dataclass(frozen=True)
class Wanted:
    """What the gateway was told to do, as it tells itself.

    Args:
        weights: percent of the requests of a route that no match takes, by deployment; of several
            routes, the largest.
        shadows: percent of the requests of which a deployment gets copies.
        flags: percent of the subjects for which a flag is on.
        rollouts, steps: {route: the rollout that made it so, and at which step it is; 0: over}.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    shadows: Mapping[str, float] = field(default_factory=dict)
    flags: Mapping[str, float] = field(default_factory=dict)
    revision: int = 0
    rollouts: Mapping[str, int] = field(default_factory=dict)
    steps: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, page: Samples) -> Wanted:
        weights: dict[str, float] = {}
        for one in page.named("llmlab_route_weight"):
            name = one.labels["deployment"]
            weights[name] = max(one.value, weights.get(name, 0.0))
        rollouts = page.by("route", "llmlab_rollout")
        steps = page.by("route", "llmlab_rollout_step")
        return cls(
            weights=weights,
            shadows=page.by("deployment", "llmlab_shadow_percent"),
            flags=page.by("flag", "llmlab_flag_percent"),
            revision=int(page.total("llmlab_traffic_revision")),
            rollouts={route: int(number) for route, number in rollouts.items() if number},
            steps={route: int(steps.get(route, 0)) for route in rollouts if rollouts[route]},
        )


@dataclass(frozen=True)
class DeploymentView:
    """A deployment at one moment.

    Args:
        weight: percent that it should get.
        seen: by the gateway, within the last while.
        api: what it says of itself; None while it does not answer.
        rates: of the same while; None at the first look.
    """

    name: str
    healthy: bool
    state: str
    memory: int
    memory_limit: int
    weight: float
    seen: Seen
    api: ApiFigures | None
    rates: ApiRates | None


@dataclass(frozen=True)
class View:
    """A lab at one moment, ``at`` in seconds since 1970. ``waf``: None without one."""

    at: float
    lab: str
    engine: str
    url: str
    healthy: bool
    wanted: Wanted
    glance: Glance
    deployments: tuple[DeploymentView, ...]
    waf: WafFigures | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON has no NaN: what was not measured is null; the last bucket has no bound."""
        document: dict[str, Any] = _plain(asdict(self))
        del document["glance"]["deployments"]  # they stand with the deployments
        return document


class GatewaySeen(TypedDict):
    """The gateway within a while of so many seconds.

    Args:
        refused: {status: requests that it answered itself}.
        revision: of the newest routes that a request went by.
        shared: requests that the shares are measured on.
        routes: the same by route and deployment.
    """

    seconds: float
    total: Seen
    refused: dict[str, int]
    revision: int
    shared: int
    routes: dict[str, dict[str, int]]


class LabSeen(TypedDict):
    """A lab at one moment, ``at`` in seconds since 1970.

    Args:
        wanted: what the gateway was told to do.
        glance: what it has seen of late.
        waf: null without one.
    """

    at: float
    lab: str
    engine: str
    url: str
    healthy: bool
    wanted: Wanted
    glance: GatewaySeen
    deployments: list[DeploymentView]
    waf: WafFigures | None


class Observer:
    """Looks at one lab. A rate needs two looks; the log is read once.

    Args:
        window: seconds that figures look back.
        clock: seconds since 1970.
    """

    def __init__(
        self, engine: Engine, *, window: float = 60.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._seconds = min(window, KEPT)
        self._clock = clock
        self._window = Window(clock())
        self._cursor = "0"
        self._progress: dict[str, Progress] = {}
        self._wanted: Wanted | None = None
        self._waf: WafFigures | None = None

    def look(self, status: LabStatus | None = None) -> View:
        """
        Args:
            status: of this moment, where somebody has asked for it already.

        Raises:
            UpstreamError: the lab does not run, or its gateway has never told its metrics.
        """
        status = status or self._engine.status()
        if not status.running:
            raise UpstreamError("the lab does not run", fix="llmlab up")
        wanted = self._what_is_wanted()
        apis = {one.name: self._api(one) for one in status.deployments}
        self._read_log()
        now = self._clock()
        glance = self._window.glance(now, self._seconds)
        deployments = tuple(
            self._deployment(one, apis[one.name], wanted, glance, now) for one in status.deployments
        )
        return View(
            at=now, lab=status.lab, engine=status.engine, url=status.gateway.url,
            healthy=status.healthy, wanted=wanted, glance=glance,
            deployments=tuple(sorted(deployments, key=lambda one: (-one.weight, one.name))),
            waf=self._waf,
        )  # fmt: skip

    def _what_is_wanted(self) -> Wanted:
        try:
            page = gateway_page(self._engine)
            self._wanted, self._waf = Wanted.of(page), WafFigures.of(page)
        except UpstreamError:  # it starts anew, maybe; its routes are as they were
            if self._wanted is None:
                raise
        return self._wanted

    def _api(self, one: DeploymentStatus) -> ApiFigures | None:
        pages = list(api_pages(self._engine, one).values())
        return ApiFigures.of(Samples.together(pages)) if pages else None

    def _read_log(self) -> None:
        now = self._clock()
        lines, self._cursor = self._engine.requests_since(self._cursor, after=now - KEPT)
        for line in reversed(lines):
            if request := read(line):
                if request.at < now - KEPT - 1:
                    break  # the others are older
                self._window.add(request, now)

    def _deployment(
        self, one: DeploymentStatus, api: ApiFigures | None, wanted: Wanted, glance: Glance,
        now: float,
    ) -> DeploymentView:  # fmt: skip
        progress = self._progress.setdefault(one.name, Progress(self._seconds))
        return DeploymentView(
            name=one.name, healthy=one.healthy, state=one.state, memory=one.memory,
            memory_limit=one.memory_limit, weight=wanted.weights.get(one.name, 0.0),
            seen=glance.deployments.get(one.name, Seen()), api=api,
            rates=progress.look(api, now) if api else None,
        )  # fmt: skip


def api_pages(engine: Engine, one: DeploymentStatus) -> dict[int, Samples]:
    """The metrics of those processes of a deployment that answer, by their numbers, from 1."""
    pages: dict[int, Samples] = {}
    for number, suffix in enumerate(suffixes(one.replicas), 1):
        with contextlib.suppress(UpstreamError, ValueError):
            code, body = engine.ask(one.name + suffix, "/metrics", timeout=PATIENCE)
            if code == 200:
                pages[number] = Samples.parse(body.decode())
    return pages


def gateway_page(engine: Engine) -> Samples:
    """The gateway's metrics.

    Raises:
        UpstreamError: it does not answer, or not with metrics.
    """
    try:
        return Samples.parse(engine.gateway_metrics())
    except ValueError as error:
        raise UpstreamError(
            f"what the gateway tells of itself cannot be read: {unreadable(error)}", fix="llmlab up"
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
