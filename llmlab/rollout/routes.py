"""The traffic that a rollout wants, given the traffic that there is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from llmlab.rollout.state import Kind, Phase, Rollout
from llmlab.traffic import Deployed, Route, Shadow, Share, Split, Traffic

TRIES = frozenset({Phase.PROGRESSING, Phase.PAUSED})


def traffic_of(rollout: Rollout, traffic: Traffic, others: Iterable[str] = ()) -> Traffic:
    """What is wanted once a rollout is where it is. Asked twice, it changes nothing more.

    Other routes stay as they are, flags and matches of a person as well, and so does every
    deployment that one of them leads to.

    Args:
        others: deployments that rollouts of other routes need, whether they have traffic yet or
            not.
    """
    trying = rollout.phase in TRIES
    before = traffic.route(rollout.route)
    routed = traffic.with_route(rollout.route, replace(
        before,
        stable=_stable(rollout, before),
        split=_split(rollout) if trying else None,
        shadow=_shadow(rollout) if trying else None,
        rollout=rollout.number,
        step=rollout.step if trying else 0,
    ))  # fmt: skip
    return replace(routed, deployments=tuple(_deployments(rollout, routed, set(others))))


def _stable(rollout: Rollout, route: Route) -> str:
    if rollout.phase in (Phase.ABORTING, Phase.ABORTED):
        return rollout.stable_before
    if not rollout.promoted:
        return route.stable
    return "" if rollout.promoted == rollout.configured else rollout.promoted


def _split(rollout: Rollout) -> Split | None:
    salt = f"rollout-{rollout.number}"  # other subjects than in the last rollout go first
    first = rollout.arms[0].deployment
    if rollout.kind is Kind.CANARY:
        return Split((Share(first, rollout.percent),), rollout.by, salt)
    if rollout.kind is Kind.AB:
        rest = Share(rollout.arms[1].deployment, 100 - rollout.percent)
        return Split((Share(first, rollout.percent), rest), rollout.by, salt)
    return None


def _shadow(rollout: Rollout) -> Shadow | None:
    if rollout.kind is not Kind.SHADOW:
        return None
    return Shadow(rollout.candidate.deployment, rollout.percent)


def _deployments(rollout: Rollout, routed: Traffic, others: set[str]) -> Iterator[Deployed]:
    """Those that there are, with the rollout's own for as long as they are needed."""
    needed = routed.targets() | {rollout.stable.deployment} | others
    ends = {rollout.retired} if rollout.promoted else set()
    ends |= _own_to_end(rollout)
    over = rollout.phase in (Phase.COMPLETED, Phase.ABORTED)
    arms = set() if over else {one.deployment for one in rollout.arms}
    for one in routed.deployments:
        if one.name not in ends or one.name in needed:
            # One that rests is woken before it gets traffic, as one is started that is not there.
            yield replace(one, replicas=1) if one.name in arms and not one.replicas else one
    if over:
        return
    there = {one.name for one in routed.deployments}
    for version in rollout.arms:
        name = version.deployment
        if name in rollout.started and name not in there and name not in ends - needed:
            yield Deployed(name, version.model, rollout=rollout.number)


def _own_to_end(rollout: Rollout) -> set[str]:
    """Those that it started, once it is decided that they get no traffic."""
    if rollout.phase in (Phase.STARTING, *TRIES):
        return set()
    return {name for name in rollout.started if name != rollout.promoted}
