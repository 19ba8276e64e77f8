"""Which way requests go: the routes of a lab that runs, what they lead to, and how much of it came
to pass."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from llmlab.engines.base import Plan
from llmlab.flags.telling import told_who
from llmlab.observe.shares import is_off
from llmlab.observe.window import Glance
from llmlab.rollout.state import Phase, Rollout
from llmlab.traffic import Match

PHASES = {
    Phase.STARTING: "starts", Phase.PAUSED: "paused", Phase.COMPLETING: "completes",
    Phase.ABORTING: "is given back",
}  # fmt: skip


@dataclass(frozen=True)
class Way:
    """From a route to a deployment.

    Args:
        kind: share, of what nothing else takes; match; flag; shadow, which gets copies.
        percent: that are to go there, of requests or of a flag's subjects; null for a match.
        measured: percent that went there since the routes last changed; null where nothing is
            measured.
        off: there is enough to say that it gets another share than it should.
        said: what goes there, in words; of a flag also for whom it is on; "" for a share.
    """

    deployment: str
    kind: Literal["share", "match", "flag", "shadow"]
    percent: float | None = None
    measured: float | None = None
    off: bool = False
    said: str = ""

    @property
    def part(self) -> float | None:
        """``percent``, unless it is said: a flag may be on for 0 % and for those of a claim."""
        return None if self.kind == "flag" else self.percent


@dataclass(frozen=True)
class UnderWay:
    """A rollout that is not over. ``steps``: how many it has in all."""

    number: int
    kind: str
    phase: str
    step: int
    steps: int
    candidate: str

    @property
    def said(self) -> str:
        """``canary 3, step 2 of 4``"""
        at = f", step {self.step} of {self.steps}" if self.steps > 1 and self.step else ""
        how = PHASES.get(Phase(self.phase), "")
        return f"{self.kind} {self.number}{at}" + (f", {how}" if how else "")


@dataclass(frozen=True)
class RouteNow:
    """A route. ``stable``: what gets the requests that nothing else takes.

    Args:
        requests: that its shares are measured on.
        rollout: null where none is under way.
    """

    name: str
    stable: str
    ways: tuple[Way, ...]
    requests: int = 0
    rollout: UnderWay | None = None


def routes_of(
    plan: Plan, glance: Glance | None, rollouts: Mapping[str, Rollout]
) -> tuple[RouteNow, ...]:
    """
    Args:
        plan: what runs.
        glance: what the gateway has seen of late; None where it does not tell.
        rollouts: those under way, by route.
    """
    routes = glance.routes if glance else {}
    return tuple(
        RouteNow(
            name, plan.leading(name), tuple(_ways(plan, name, routes.get(name, {}))),
            sum(routes.get(name, {}).values()),
            _under_way(rollouts[name]) if name in rollouts else None,
        )
        for name in plan.routes
    )  # fmt: skip


def _ways(plan: Plan, name: str, seen: Mapping[str, int]) -> Iterator[Way]:
    route, of = plan.traffic.route(name), sum(seen.values())
    weights = route.weights(plan.routes[name])
    leading = plan.leading(name)
    for deployment in sorted(weights, key=lambda one: one != leading):
        share = 100 * seen.get(deployment, 0) / of if of else math.nan
        yield Way(
            deployment, "share", weights[deployment], None if math.isnan(share) else share,
            is_off(share, weights[deployment], of),
        )  # fmt: skip
    for match in route.matches:
        yield Way(match.deployment, "match", said=_said(match))
    for flag in plan.traffic.flags_of(name):
        said = f"flag {flag.name} for {told_who(flag)}"
        yield Way(flag.deployment, "flag", flag.percent, said=said)
    if shadow := route.shadow:
        yield Way(shadow.deployment, "shadow", shadow.percent, said="copies")


def _said(match: Match) -> str:
    """``header X-Beta: on``, ``cookie beta=1``, ``claim team=red``, ``flag new-ui``"""
    if match.kind == "flag":
        return f"flag {match.name}"
    between = ": " if match.kind == "header" else "="
    return f"{match.kind} {match.name}{between}{match.value}"


def _under_way(one: Rollout) -> UnderWay:
    return UnderWay(
        one.number, one.kind.value, one.phase.value, one.step, one.last_step,
        one.candidate.deployment,
    )  # fmt: skip
