"""The last minutes of the gateway, from its access log."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from llmlab.observe.access import Access
from llmlab.observe.latencies import Latencies
from llmlab.observe.told import Telling, Told, told

KEPT = 300  # seconds
STEP = 5  # seconds of one column of a sparkline


@dataclass(frozen=True)
class Seen:
    """What the gateway saw of one deployment, or of all of them, within a while.

    Args:
        statuses: requests by class: 2xx, 4xx, 5xx.
        p50, p95, p99: seconds; nan without requests.
        buckets: (upper bound in seconds, requests up to it).
        share: percent of the requests of its route that the shares decided on, since the routes
            last changed; nan without any.
        recent: requests per second in steps of ``STEP`` seconds, the last one last.
        answers: how they came and ended; None where no API has told.
    """

    requests: int = 0
    per_second: float = 0.0
    statuses: Mapping[str, int] = field(default_factory=dict)
    p50: float = math.nan
    p95: float = math.nan
    p99: float = math.nan
    buckets: tuple[tuple[float, int], ...] = ()
    share: float = math.nan
    recent: tuple[float, ...] = ()
    answers: Told | None = None

    @property
    def errors(self) -> float:
        """Percent of the requests that ended in a 5xx; nan without requests."""
        return 100 * self.statuses.get("5xx", 0) / self.requests if self.requests else math.nan


@dataclass(frozen=True)
class Glance:
    """The gateway within a while of so many seconds.

    Args:
        refused: requests that it answered itself, by status: 401 without a valid token, 429
            above the rate limit.
        revision: of the newest routes that a request went by.
        shared: requests that the shares are measured on.
        routes: the same by route and deployment.
    """

    seconds: float
    total: Seen
    deployments: Mapping[str, Seen]
    refused: Mapping[int, int]
    revision: int = 0
    shared: int = 0
    routes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class Window:
    """Takes requests as they end, and forgets them after ``KEPT`` seconds. However many they
    are, it keeps some numbers for each second and deployment."""

    def __init__(self, begin: float) -> None:
        """Args:
        begin: since when requests are added, in seconds since 1970.
        """
        self._begin = begin
        self._cells: dict[int, _Cell] = {}

    def add(self, request: Access, now: float) -> None:
        second = min(math.floor(request.at), math.floor(now))  # clocks may differ a little
        if second <= now - KEPT:
            return
        self._begin = min(self._begin, request.at)
        self._cells.setdefault(second, _Cell()).add(request)

    def glance(self, now: float, seconds: float = 60.0) -> Glance:
        """The last so many seconds; fewer, where it was not there yet."""
        self._forget(now)
        looked = max(1.0, min(seconds, now - self._begin))
        cells = [cell for second, cell in self._cells.items() if second > now - seconds]
        names = {name for cell in self._cells.values() for name in cell.deployments}
        revision = max((one for cell in cells for _, _, one in cell.shared), default=0)
        shared: Counter[tuple[str, str]] = Counter()
        for cell in cells:
            for (route, name, at), count in cell.shared.items():
                if at == revision:
                    shared[route, name] += count
        refused: Counter[int] = Counter()
        for cell in cells:
            refused.update(cell.refused)
        sums = {name: [cell.deployments[name] for cell in cells if name in cell.deployments]
                for name in sorted(names)}  # fmt: skip
        deployments = {
            name: self._seen(parts, looked, self._recent(now, name), _share(shared, name))
            for name, parts in sums.items()
        }
        everything = [part for parts in sums.values() for part in parts]
        total = self._seen(everything, looked, self._recent(now), math.nan)
        return Glance(
            looked, total, deployments, dict(sorted(refused.items())), revision, shared.total(),
            _by_route(shared),
        )  # fmt: skip

    def _forget(self, now: float) -> None:
        for second in [one for one in self._cells if one <= now - KEPT]:
            del self._cells[second]

    @staticmethod
    def _seen(parts: list[_Sums], seconds: float, recent: tuple[float, ...], share: float) -> Seen:
        latencies = Latencies.together(one.latencies for one in parts)
        statuses: Counter[str] = Counter()
        for one in parts:
            statuses.update(one.statuses)
        return Seen(
            requests=latencies.count, per_second=latencies.count / seconds,
            statuses=dict(sorted(statuses.items())), p50=latencies.quantile(0.5),
            p95=latencies.quantile(0.95), p99=latencies.quantile(0.99),
            buckets=latencies.buckets(), share=share, recent=recent,
            answers=told(one.told for one in parts),
        )  # fmt: skip

    def _recent(self, now: float, name: str = "") -> tuple[float, ...]:
        """``name``: "" for all deployments."""
        steps = [0] * (KEPT // STEP)
        last = math.floor(now)  # a second that is not over yet stays out
        for second, cell in self._cells.items():
            step = len(steps) - 1 - (last - 1 - second) // STEP
            if second < last and step >= 0:
                counted = [one.latencies.count for key, one in cell.deployments.items()
                           if name in ("", key)]  # fmt: skip
                steps[step] += sum(counted)
        return tuple(count / STEP for count in steps)


class _Sums:
    """The requests of one deployment in one second."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.latencies = Latencies()
        self.told = Telling()


class _Cell:
    """One second."""

    def __init__(self) -> None:
        self.deployments: defaultdict[str, _Sums] = defaultdict(_Sums)
        self.refused: Counter[int] = Counter()
        # By route, deployment and revision.
        self.shared: Counter[tuple[str, str, int]] = Counter()

    def add(self, request: Access) -> None:
        if not request.deployment:
            self.refused[request.status] += 1
            return
        sums = self.deployments[request.deployment]
        sums.statuses[f"{request.status // 100}xx"] += 1
        sums.latencies.add(request.seconds)
        if request.answer:
            sums.told.add(request.answer)
        if request.by_share:
            self.shared[request.route, request.deployment, request.revision] += 1


def _share(shared: Counter[tuple[str, str]], name: str) -> float:
    """Its part of the requests of the routes that it has a part of."""
    routes = {route for route, deployment in shared if deployment == name}
    of = sum(count for (route, _), count in shared.items() if route in routes)
    return 100 * sum(shared[route, name] for route in routes) / of if of else math.nan


def _by_route(shared: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (route, name), count in sorted(shared.items()):
        found.setdefault(route, {})[name] = count
    return found
