"""The first page: what runs, which way requests go, and what comes of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

from llmlab.console.ages import TICK, told
from llmlab.console.desk import Desk
from llmlab.console.pages import Page, Query, number, rate, seconds
from llmlab.console.picture import Picture, picture
from llmlab.console.visitor import Visitor
from llmlab.console.watching import watch
from llmlab.console.ways import RouteNow, routes_of
from llmlab.durations import duration
from llmlab.engines.status import LabStatus
from llmlab.flags.telling import told_who
from llmlab.observe.observer import DeploymentView, LabSeen, View
from llmlab.observe.window import STEP
from llmlab.rollout.store import Rollouts

NONE = "–"
MIB = 1 << 20


class OverviewDocument(TypedDict):
    """Args:
    status: as `llmlab status -o json`.
    top: as `llmlab top --once -o json`; null while the gateway does not tell.
    routes: which way requests go.
    """

    status: LabStatus
    top: LabSeen | None
    routes: list[RouteNow]


@dataclass(frozen=True)
class Warned:
    """A warning, and what to do; "" where nobody knows."""

    said: str
    fix: str


@dataclass(frozen=True)
class Figure:
    """Args:
    also: in small letters, below.
    look: "" or wrong, unsure.
    """

    name: str
    text: str
    also: str = ""
    look: str = ""


# What stands in the cells of a Row.
COLUMNS = ("Requests/s", "p50", "p95", "Errors", "Waiting", "Tokens/s", "Memory")


@dataclass(frozen=True)
class Row:
    """What one deployment does, in words."""

    name: str
    healthy: bool
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Bars:
    """A line of bars, from 0 to 1, the last one of now."""

    heights: tuple[float, ...]
    said: str


@dataclass(frozen=True)
class Overview:
    status: LabStatus
    view: View | None
    routes: tuple[RouteNow, ...]
    flags: tuple[tuple[str, str], ...] = ()  # for whom each is on, in words

    def as_json(self) -> Mapping[str, Any]:
        return {
            "status": self.status.as_json(),
            "top": self.view.as_json() if self.view else None,
            "routes": [asdict(one) for one in self.routes],
        }

    @property
    def warnings(self) -> list[Warned]:
        parted = (one.partition("\nFix: ") for one in self.status.warnings)
        return [Warned(said, fix) for said, _, fix in parted]

    @property
    def uptime(self) -> str:
        """Of the gateway. What ticks would have the page sent each second."""
        return duration(self.status.gateway.uptime // TICK * TICK)

    def fetched(self, age: float) -> str:
        """Of an issuer's keys, so many seconds ago."""
        return told(age)

    @property
    def picture(self) -> Picture:
        return picture(self.status, self.view, self.routes)

    @property
    def by_name(self) -> list[str]:
        """Deployments that no route leads to."""
        led = {way.deployment for route in self.routes for way in route.ways}
        return [one.name for one in self.status.deployments if one.name not in led]

    @property
    def figures(self) -> list[Figure]:
        return list(_figures(self.view)) if self.view else []

    @property
    def bars(self) -> Bars | None:
        return _bars(self.view.glance.total.recent) if self.view else None

    @property
    def columns(self) -> tuple[str, ...]:
        return COLUMNS

    @property
    def rows(self) -> list[Row]:
        return [_row(one) for one in self.view.deployments] if self.view else []


def gather(desk: Desk, query: Query, visitor: Visitor) -> Overview:
    """
    Raises:
        UpstreamError: the lab does not run.
    """
    del query, visitor
    looked = watch(desk.lab).look()
    kept = Rollouts(desk.lab)
    under_way = {route: found.rollout for route in kept.routes()
                 if (found := kept.unfinished(route))}  # fmt: skip
    glance = looked.view.glance if looked.view else None
    plan = desk.record.plan()
    flags = tuple((one.name, told_who(one)) for one in plan.traffic.flags)
    return Overview(looked.status, looked.view, routes_of(plan, glance, under_way), flags)


def _figures(view: View) -> Iterator[Figure]:
    total, refused = view.glance.total, view.glance.refused
    yield Figure("Requests/s", _rate(total.per_second), f"last {view.glance.seconds:.0f} s")
    yield Figure("p50", _seconds(total.p50), "half are quicker")
    yield Figure("p95", _seconds(total.p95), "1 in 20 is slower")
    failed = total.statuses.get("5xx", 0)
    yield Figure("Errors", _percent(total.errors), f"{number(failed)} of {number(total.requests)}",
                 "wrong" if failed else "")  # fmt: skip
    yield Figure(
        "Refused", number(sum(refused.values())),
        ", ".join(f"{count} with {status}" for status, count in refused.items())
        or "by the gateway",
        "unsure" if refused else "",
    )  # fmt: skip
    rates = [one.rates for one in view.deployments if one.rates]
    read, written = sum(one.tokens_in for one in rates), sum(one.tokens_out for one in rates)
    if rates:
        yield Figure("Tokens/s", _rate(read + written),
                     f"{_rate(read)} read, {_rate(written)} written")  # fmt: skip


def _bars(recent: Sequence[float]) -> Bars | None:
    most = max(recent, default=0.0)
    if not most:
        return None
    minutes = len(recent) * STEP // 60
    return Bars(
        tuple(round(one / most, 4) for one in recent),
        f"Requests/s of the last {minutes} minutes, at most {_rate(most)}",
    )


def _row(one: DeploymentView) -> Row:
    seen, api, rates = one.seen, one.api, one.rates
    return Row(one.name, one.healthy, (
        _rate(seen.per_second), _seconds(seen.p50), _seconds(seen.p95), _percent(seen.errors),
        number(api.waiting) if api else NONE,
        _rate(rates.tokens_in + rates.tokens_out) if rates else NONE,
        f"{number(one.memory // MIB)} MiB" if one.memory else NONE,
    ))  # fmt: skip


# --- how they are told: what is not a number is a line -------------------------------------------


def _rate(value: float) -> str:
    return NONE if math.isnan(value) else rate(value)


def _percent(value: float) -> str:
    return NONE if math.isnan(value) else f"{value:.3g} %"


def _seconds(value: float) -> str:
    return NONE if math.isnan(value) else seconds(float(f"{value:.2g}"))


PAGES = (Page("overview", "Overview", "overview.html.j2", gather, live=True),)
