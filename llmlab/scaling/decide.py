"""How many replicas a deployment should have. Pure: from what was looked at to a number and a
sentence that says why.

Up is quick and down is slow. The measure is the number of requests under way, as Knative's
autoscaler takes it: what a text or a token costs differs too much between requests to be a
target, and who waits is under way as well. From Kubernetes' come the tolerance around the target,
the doubling at most, and that the way down goes by the highest number that was called for of late.

Requests under way tell little of how near to its end a deployment is: with one more replica the
queue is gone, and it looks as if nobody needed that one. So it is remembered at how many requests
per second there were too few, and nobody goes back there before there are clearly less.

https://knative.dev/docs/serving/autoscaling/kpa-specific/
https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise

from llmlab.config.scale import Scale

TOLERANCE = 0.1  # of the target, to either side: HorizontalPodAutoscaler's default
SURGE = 2  # times as many at once, at most ...
STEP = 4  # ... or so many more, whichever is more; both as HorizontalPodAutoscaler has them
CLEARLY_LESS = 0.7  # of the requests per second at which there were too few
REMEMBERED = 12  # times `down_after`: for so long it is known at how many
FILLED = 0.8  # of a window that has to have been looked at
MISSING = 0.6  # of a window without a look is too much
LEAST = 3  # looks in a window


@dataclass(frozen=True)
class Look:
    """A deployment at one moment, ``at`` in seconds of a steady clock.

    Args:
        replicas: how many there should be by now.
        ready: how many of them answered.
        in_flight: requests under way, in all of them.
        requests: how many they have answered since they were started.
        in_vain: requests by its name that were turned away because it rests, since ever.
        bound: why it may not rest now; "" where it may.
        held: why it may not have fewer now; "" where it may.
    """

    at: float
    replicas: int
    ready: int
    in_flight: int = 0
    requests: int = 0
    in_vain: int = 0
    bound: str = ""
    held: str = ""


@dataclass(frozen=True)
class TooFew:
    """At so many requests per second, so many replicas were too few."""

    replicas: int
    per_second: float
    at: float


@dataclass(frozen=True)
class Memory:
    """What is known of a deployment: looks, the oldest first.

    Args:
        changed: when its number was seen to change, or it was looked at first.
        asked: when it was seen to be asked last, or changed.
    """

    looks: tuple[Look, ...] = ()
    changed: float = -math.inf
    asked: float = -math.inf
    too_few: tuple[TooFew, ...] = ()

    def seen(self, look: Look, scale: Scale) -> Memory:
        """With one more look."""
        last = self.looks[-1] if self.looks else None
        anew = last is None or last.replicas != look.replicas
        busy = anew or look.in_flight > 0 or last is None or last.requests != look.requests
        since = look.at - scale.down_after
        return replace(
            self,
            looks=(*(one for one in self.looks if one.at >= since), look),
            changed=look.at if anew else self.changed,
            asked=look.at if busy else self.asked,
            too_few=tuple(
                one for one in self.too_few
                if one.at >= look.at - REMEMBERED * scale.down_after
            ),
        )  # fmt: skip


@dataclass(frozen=True)
class Decision:
    """``replicas`` that it should have from now on, and ``why``; "" where nothing changes.

    ``memory`` is what has to be remembered for the next decision.
    """

    replicas: int
    why: str = ""
    memory: Memory = field(default_factory=Memory, repr=False, compare=False)


def decide(memory: Memory, scale: Scale) -> Decision:
    """What follows from the looks so far, the last of which is of now.

    The bounds always hold. Beyond them, where nobody answered nothing changes; and who did not
    answer counts as idle on the way up, and on the way down as busy.
    """
    if not memory.looks or not scale.is_on:
        last = memory.looks[-1].replicas if memory.looks else 0
        return Decision(last, memory=memory)
    now = memory.looks[-1]
    stays = Decision(now.replicas, memory=memory)
    if now.replicas == 0:
        return _woken(memory, scale)
    if now.replicas > scale.max:
        return _to(scale.max, f"{now.replicas} are more than max {scale.max}", memory)
    if now.replicas < scale.least:
        return _to(scale.least, f"{now.replicas} are fewer than min {scale.min}", memory)
    if not now.ready:
        return stays
    return _up(memory, scale) or _down(memory, scale) or _rests(memory, scale) or stays


def _woken(memory: Memory, scale: Scale) -> Decision:
    now = memory.looks[-1]
    if scale.min > 0:
        return _to(scale.least, f"it rests, and min is {scale.min}", memory)
    if now.bound:
        return _to(1, f"it may not rest: {now.bound}", memory)
    before = [one for one in memory.looks if one.at >= memory.changed]  # of this rest alone
    # A gateway that was started anew counts from 0.
    asked = sum(max(0, after.in_vain - one.in_vain) for one, after in pairwise(before))
    if asked > 0:
        return _to(1, f"{asked} request{_s(asked)} asked for it while it rested", memory)
    return Decision(0, memory=memory)


def _up(memory: Memory, scale: Scale) -> Decision | None:
    now = memory.looks[-1]
    mean = _mean(memory, scale.up_after)
    room = now.replicas * scale.requests
    if mean is None or mean <= room * (1 + TOLERANCE) or now.replicas >= scale.max:
        return None
    most = max(now.replicas * SURGE, now.replicas + STEP)
    wanted = min(math.ceil(mean / scale.requests), most, scale.max)
    return _to(
        wanted,
        f"{mean:.1f} requests under way on average for {scale.up_after:g} s, and {now.replicas} "
        f"replica{_s(now.replicas)} at {scale.requests:g} each are for {room:g}",
        _remembering(memory, scale),
    )


def _remembering(memory: Memory, scale: Scale) -> Memory:
    """That there are too few replicas for what comes in now."""
    now = memory.looks[-1]
    rate = _per_second(memory, scale.down_after)
    if rate <= 0:  # what is under way came before anybody looked
        return memory
    before = [one.per_second for one in memory.too_few if one.replicas == now.replicas]
    others = tuple(one for one in memory.too_few if one.replicas != now.replicas)
    return replace(memory, too_few=(*others, TooFew(now.replicas, min((rate, *before)), now.at)))


def _down(memory: Memory, scale: Scale) -> Decision | None:
    now = memory.looks[-1]
    highest = _highest_mean(memory, scale)
    if now.held or now.replicas <= scale.least or highest is None:
        return None
    # So many that what was highest leaves room.
    wanted = max(scale.least, math.ceil(highest / (scale.requests * (1 - TOLERANCE))))
    rate = _per_second(memory, scale.down_after)
    holding = [one for one in memory.too_few if rate > one.per_second * CLEARLY_LESS]
    wanted = max(wanted, *(one.replicas + 1 for one in holding), 0)
    if wanted >= now.replicas:
        # As long as it holds it is not forgotten.
        kept = (replace(one, at=now.at) if one in holding else one for one in memory.too_few)
        return Decision(now.replicas, memory=replace(memory, too_few=tuple(kept)))
    return _to(
        wanted,
        f"for {scale.down_after:g} s no more than {highest:.1f} requests were under way, which "
        f"{wanted} replica{_s(wanted)} can take",
        memory,
    )


def _rests(memory: Memory, scale: Scale) -> Decision | None:
    now = memory.looks[-1]
    if scale.min > 0 or now.bound or now.held or now.replicas > 1:
        return None
    if now.ready < 1 or now.at - max(memory.asked, memory.changed) < scale.rest_after:
        return None
    return _to(0, f"nobody has asked for it for {scale.rest_after:g} s", memory)


# --- what the looks say ------------------------------------------------------------------


def _window(memory: Memory, seconds: float) -> list[Look]:
    """The looks of the last so many seconds, or more where one takes long, all with the same
    replicas; none where less than that, or not nearly all of it, was looked at."""
    times = [one.at for one in memory.looks]
    if len(times) < LEAST:
        return []
    since = max(min(times[-1] - seconds, times[-LEAST]), memory.changed)
    found = [one for one in memory.looks if one.at >= since]
    passed = times[-1] - found[0].at
    if len(found) < LEAST or passed < FILLED * seconds:
        return []
    longest = max(after.at - before.at for before, after in pairwise(found))
    return found if longest <= MISSING * max(seconds, passed) else []


def _mean(memory: Memory, seconds: float) -> float | None:
    """Requests under way, on average; None where too little of it is known."""
    found = _window(memory, seconds)
    if not found or not all(one.ready for one in found):
        return None
    return sum(one.in_flight for one in found) / len(found)


def _highest_mean(memory: Memory, scale: Scale) -> float | None:
    """The highest average of `up_after` seconds within the last `down_after`; None where too
    little is known."""
    found = _window(memory, scale.down_after)
    if not found or any(one.ready < one.replicas for one in found):
        return None
    highest, first, total = 0.0, 0, 0
    for last, one in enumerate(found):
        total += one.in_flight
        while one.at - found[first].at > scale.up_after:
            total -= found[first].in_flight
            first += 1
        if first or last + 1 == len(found):  # the first averages are of too little
            highest = max(highest, total / (last - first + 1))
    return highest


def _per_second(memory: Memory, seconds: float) -> float:
    """Requests that came in per second: those that were answered, and by how many more are under
    way. A process that was started anew counts from 0: what it has answered is left out then."""
    since = memory.looks[-1].at - seconds
    found = [one for one in memory.looks if one.at >= max(since, memory.changed)]
    passed = found[-1].at - found[0].at if found else 0.0
    answered = sum(max(0, after.requests - before.requests) for before, after in pairwise(found))
    more = found[-1].in_flight - found[0].in_flight if found else 0
    return max(0, answered + more) / passed if passed > 0 else 0.0


def _to(replicas: int, why: str, memory: Memory) -> Decision:
    return Decision(replicas, why, memory)


def _s(count: int) -> str:
    return "" if count == 1 else "s"
