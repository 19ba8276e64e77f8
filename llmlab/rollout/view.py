"""A rollout at one moment, for those who look: what is wanted, what is so, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

from llmlab.engines.record import Record
from llmlab.engines.status import LabStatus
from llmlab.errors import UsageError
from llmlab.lab import Lab
from llmlab.rollout.state import Kind, Phase, Rollout
from llmlab.rollout.store import Rollouts


@dataclass(frozen=True)
class Seat:
    """One of its deployments. Weights in percent of ``/summarize/``, copies for a shadow.

    Args:
        role: stable, candidate, A or B.
        requested: as it is wanted.
        actual: as the gateway goes by; None if nobody knows.
        state: of the process, as the engine calls it; "gone" if it does not run.
    """

    name: str
    model: str
    role: str
    requested: float
    actual: float | None
    healthy: bool
    state: str


class Shown(TypedDict):
    """Args:
    target: the deployments that it tries.
    steps: of a canary, in percent.
    deployments: those that it is about.
    elapsed: seconds in this step, or phase.
    next_in: seconds until the next step at the earliest; null where none follows by itself.
    running: whether the lab runs at all.
    """

    target: str
    steps: list[float]
    deployments: list[Seat]
    elapsed: float
    next_in: float | None
    running: bool


@dataclass(frozen=True)
class View:
    """Args:
    now: seconds since 1970.
    running: whether the lab runs at all.
    """

    rollout: Rollout
    seats: tuple[Seat, ...]
    running: bool
    now: float

    @property
    def elapsed(self) -> float:
        """Seconds in this step, or phase."""
        return max(0.0, (self.rollout.ended or self.now) - self.rollout.since)

    @property
    def next_in(self) -> float | None:
        """Seconds until the next step at the earliest; None where no step follows by itself."""
        one = self.rollout
        if one.phase is not Phase.PROGRESSING or one.kind is Kind.AB:
            return None
        return max(0.0, (one.rules.bake if one.baking else one.rules.interval) - self.elapsed)

    def next_told(self, tell: Callable[[float], str]) -> str:
        """What follows by itself, and when; "" where nothing does.

        Args:
            tell: seconds in words.
        """
        one, left = self.rollout, self.next_in
        if left is None:
            return ""
        if one.baking:
            return f"watched for {tell(left)} more, then the end"
        last = one.step == one.last_step and (one.kind is not Kind.CANARY or not one.rules.bake)
        what = (
            "the end comes"
            if last
            else "the next step begins"
            if one.step < one.last_step
            else "a last watch begins"
        )
        soon = "as soon as the gate passes" if left == 0 else f"in {tell(left)} if the gate passes"
        return f"{what} {soon}"

    def as_json(self) -> dict[str, Any]:
        """The document of `rollout get -o json`."""
        return {
            **self.rollout.as_json(), "target": self.rollout.target,
            "steps": list(self.rollout.rules.steps) if self.rollout.kind is Kind.CANARY else [],
            "deployments": [asdict(one) for one in self.seats],
            "elapsed": self.elapsed, "next_in": self.next_in, "running": self.running,
        }  # fmt: skip


def gather(
    lab: Lab,
    rollouts: Rollouts,
    status: LabStatus | None,
    now: float,
    route: str = "",
    number: int | None = None,
) -> View:
    """The rollout that is under way, or the last one.

    Args:
        status: of the running lab; None if it does not run.
        route: whose rollout; "" for the only one under way, else the last of all.
        number: of another one. What its deployments get, they get now.

    Raises:
        UsageError: there was none yet, or there is none of that number.
    """
    kept = rollouts.current(route) if number is None else rollouts.get(number)
    if kept is None:
        raise UsageError("there was no rollout yet", fix="llmlab rollout start canary MODEL")
    rollout = kept.rollout
    wanted = rollouts.traffic()
    record = Record.read(lab) if status else None
    plan = record.plan() if record else None
    configured = plan.routes.get(rollout.route) if plan else None
    shadowed = rollout.kind is Kind.SHADOW

    def weight(name: str, role: str, requested: bool) -> float | None:
        traffic = wanted if requested else plan.traffic if plan else None
        if traffic is None:
            return None
        route = traffic.route(rollout.route)
        if shadowed and role == "candidate":
            return route.shadow.percent if route.shadow else 0.0
        return route.weights(configured or rollout.configured).get(name, 0.0)

    there = {one.name: one for one in status.deployments} if status else {}
    seats = []
    for role, version in _roles(rollout):
        name = version.deployment
        found = there.get(name)
        seats.append(
            Seat(
                name, version.model, role, weight(name, role, True) or 0.0,
                weight(name, role, False), bool(found and found.healthy),
                found.state.lower() if found else "gone",
            )
        )  # fmt: skip
    return View(rollout, tuple(seats), status is not None, now)


def _roles(rollout: Rollout) -> list[tuple[str, Any]]:
    if rollout.kind is Kind.AB:
        found = [("A", rollout.arms[0]), ("B", rollout.arms[1])]
        named = {one.deployment for one in rollout.arms}
        return found if rollout.stable.deployment in named else [("stable", rollout.stable), *found]
    role = "restored" if rollout.kind is Kind.UNDO else "candidate"
    return [("stable", rollout.stable), (role, rollout.candidate)]
