"""How many replicas a deployment should have: the decision alone, and in a simulated lab."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlab.config.scale import Scale
from llmlab.scaling.decide import STEP, SURGE, Decision, Look, Memory, decide

SCALE = Scale(min=1, max=8, requests=4)
EVERY = 2.0  # seconds between two looks


@dataclass
class Queue:
    """A deployment that is asked at random: requests come by a Poisson process, take a time that
    is exponential, and wait for one of the slots of all replicas.

    Args:
        rate: requests per second at a moment.
        startup: seconds until a new replica answers; nobody looks meanwhile, as in a real lab.
    """

    rate: Callable[[float], float]
    scale: Scale
    seconds: float = 2.0
    slots: int = 2
    startup: float = 8.0
    seed: int = 7
    replicas: int = 1
    now: float = 0.0
    waiting: int = 0
    answered: int = 0
    ends: list[float] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)
    changes: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.next = self._arrival()

    def run(self, until: float) -> None:
        while self.now < until:
            self._pass(EVERY)
            in_flight = self.waiting + len(self.ends)
            look = Look(self.now, self.replicas, self.replicas, in_flight, self.answered)
            decided = decide(self.memory.seen(look, self.scale), self.scale)
            self.memory = decided.memory
            if decided.replicas != self.replicas:
                assert decided.why
                if decided.replicas > self.replicas:
                    self._pass(self.startup)
                self.replicas = decided.replicas
                self.changes.append((self.now, self.replicas))

    def numbers(self, since: float = 0.0) -> list[int]:
        return [replicas for at, replicas in self.changes if at >= since]

    def _arrival(self) -> float:
        # Thinning would be exact; rates here are steps, and so is this.
        return self.now + self.random.expovariate(max(1e-6, self.rate(self.now)))

    def _pass(self, seconds: float) -> None:
        until = self.now + seconds
        while True:
            first = min(self.next, self.ends[0]) if self.ends else self.next
            if first > until:
                break
            self.now = first
            if self.ends and self.ends[0] <= self.next:
                heapq.heappop(self.ends)
                self.answered += 1
            else:
                self.waiting += 1
                self.next = self._arrival()
            while self.waiting and len(self.ends) < self.replicas * self.slots:
                self.waiting -= 1
                heapq.heappush(self.ends, self.now + self.random.expovariate(1 / self.seconds))
        self.now = until


# --- in a simulated lab ------------------------------------------------------------------
# A replica answers one request per second: two slots, and two seconds for each.


@pytest.mark.parametrize("per_second", [0.5, 0.9, 1.5, 2.6])
@pytest.mark.parametrize("seed", [1, 2])
def test_under_a_steady_load_it_settles(per_second: float, seed: int) -> None:
    """Requests come at random, so at first it learns how many are too few; then it stays."""
    queue = Queue(lambda _: per_second, SCALE, seed=seed)
    queue.run(3 * 3600)
    assert len(queue.numbers()) <= 5
    assert len(queue.numbers(since=1.5 * 3600)) <= 1
    assert queue.replicas >= per_second  # else nobody would ever be done
    assert queue.waiting < 40


def test_it_follows_a_step_up_within_ten_looks_and_comes_down_later() -> None:
    begins, ends = 600.0, 1800.0
    queue = Queue(lambda at: 3.0 if begins <= at < ends else 0.1, SCALE, replicas=1)
    queue.run(begins)
    assert queue.changes == []
    queue.run(begins + 10 * EVERY + queue.startup)
    assert queue.replicas > 1
    queue.run(ends)
    assert queue.replicas >= 3
    queue.run(ends + SCALE.down_after - EVERY)
    assert queue.replicas >= 3
    queue.run(ends + 3 * SCALE.down_after)
    assert queue.replicas == 1


def test_the_queue_being_gone_is_no_reason_to_go_back_to_what_was_too_few() -> None:
    """With two replicas nobody waits, and one would seem enough: at 1.2 per second it is not."""
    queue = Queue(lambda _: 1.2, SCALE, seconds=1.0, slots=1)
    queue.run(4 * 3600)
    assert queue.changes[0][1] > 1
    assert 1 not in queue.numbers(since=2 * 3600)  # it may have to learn it twice


# --- the decision alone --------------------------------------------------------------------


def after(*looks: Look, scale: Scale = SCALE) -> Decision:
    memory = Memory()
    for one in looks:
        memory = decide(memory.seen(one, scale), scale).memory
    return decide(memory, scale)


def steady(
    replicas: int, in_flight: int, seconds: float, *, since: float = 0.0, **more: int | str
) -> list[Look]:
    count = int(seconds / EVERY) + 1
    fields = {"ready": replicas, **more}
    return [
        Look(since + number * EVERY, replicas, in_flight=in_flight, **fields)  # type: ignore[arg-type]
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("looks", "scale", "replicas", "why"),
    [
        (steady(1, 9, 10), SCALE, 3, "9.0 requests under way on average for 10 s, and 1 replica "
         "at 4 each are for 4"),
        (steady(1, 9, 6), SCALE, 1, ""),  # not for long enough
        (steady(1, 4, 10), SCALE, 1, ""),  # as many as it is there for
        (steady(2, 80, 10), SCALE, 6, "80.0 requests under way"),  # no more than four at once
        (steady(7, 80, 10), SCALE, 8, "80.0 requests under way"),  # nor than max
        (steady(8, 80, 10), SCALE, 8, ""),
        (steady(4, 2, 300), SCALE, 1, "for 300 s no more than 2.0 requests were under way, which "
         "1 replica can take"),
        (steady(4, 2, 290)[:-30], SCALE, 4, ""),
        (steady(3, 8, 300), SCALE, 3, ""),  # two would be full to the brim
        (steady(4, 2, 300, held="a rollout is under way"), SCALE, 4, ""),
        (steady(4, 2, 300), Scale(min=2, max=8), 2, "for 300 s"),
        (steady(1, 0, 4), Scale(min=2, max=8), 2, "1 are fewer than min 2"),
        (steady(5, 99, 4), Scale(min=1, max=4), 4, "5 are more than max 4"),
        (steady(0, 0, 4), Scale(min=1, max=4), 1, "it rests, and min is 1"),
        (steady(1, 0, 900), Scale(min=0, max=4), 0, "nobody has asked for it for 900 s"),
        (steady(1, 0, 900), Scale(min=1, max=4), 1, ""),
        (steady(1, 0, 900, bound="chat leads to it"), Scale(min=0, max=4), 1, ""),
        (steady(0, 0, 900), Scale(min=0, max=4), 0, ""),
        (steady(0, 0, 4, bound="chat leads to it"), Scale(min=0, max=4), 1, "it may not rest: "
         "chat leads to it"),
        (steady(4, 99, 900), Scale(), 4, ""),  # nothing is scaled without a section
    ],
)  # fmt: skip
def test_a_number_and_why(looks: list[Look], scale: Scale, replicas: int, why: str) -> None:
    decided = after(*looks, scale=scale)
    assert decided.replicas == replicas
    assert decided.why.startswith(why)
    assert bool(decided.why) == bool(why) == (replicas != looks[-1].replicas)


def test_who_asks_in_vain_wakes_it() -> None:
    scale = Scale(min=0, max=4)
    asleep = [*steady(0, 0, 10, in_vain=3), Look(12, 0, 0, in_vain=5)]
    assert after(*asleep[:-1], scale=scale).replicas == 0
    anew = [replace(one, in_vain=0) for one in steady(0, 0, 4, since=12)]  # another gateway
    assert after(*asleep[:-1], *anew, scale=scale).replicas == 0
    woken = after(*asleep, scale=scale)
    assert (woken.replicas, woken.why) == (1, "2 requests asked for it while it rested")


def test_who_asked_in_an_earlier_rest_wakes_nobody_from_a_later_one() -> None:
    scale = Scale(min=0, max=4)
    asleep = [*steady(0, 0, 4, in_vain=3), Look(6, 0, 0, in_vain=5)]
    assert after(*asleep, scale=scale).replicas == 1
    awake = steady(1, 0, 10, since=8, in_vain=5)
    assert after(*asleep, *awake, *steady(0, 0, 60, since=20, in_vain=5), scale=scale).replicas == 0


def test_who_has_just_been_asked_does_not_rest() -> None:
    scale = Scale(min=0, max=4)
    quiet = steady(1, 0, 900)
    asked = [replace(one, requests=7) if one.at >= 600 else one for one in quiet]
    assert after(*quiet, scale=scale).replicas == 0
    assert after(*asked, scale=scale).replicas == 1


def test_where_nobody_answers_nothing_changes() -> None:
    assert after(*steady(2, 0, 400, ready=0)).replicas == 2
    assert after(scale=SCALE).replicas == 0
    # One that does not answer is no reason to have fewer; what the others have is one for more.
    assert after(*steady(4, 0, 400, ready=3)).replicas == 4
    assert after(*steady(2, 30, 20, ready=1)).replicas == 6


def test_where_looks_take_long_it_is_decided_by_the_last_three() -> None:
    """Many replicas, or a busy machine: no reason to have too few of them for ever."""
    slow = [Look(at, 1, 1, in_flight=9) for at in (0.0, 4.0, 8.0)]
    assert after(*slow[:2], scale=Scale(max=4, up_after=1)).replicas == 1
    assert after(*slow, scale=Scale(max=4, up_after=1)).replicas == 3
    broken = [slow[0], slow[1], replace(slow[2], at=60.0)]
    assert after(*broken, scale=Scale(max=4, up_after=1)).replicas == 1


def test_a_pause_between_looks_is_no_time_of_little_load() -> None:
    early, late = steady(4, 2, 20), steady(4, 2, 20, since=280)
    assert after(*early, *late).replicas == 4


def test_after_a_change_it_looks_anew_before_the_next() -> None:
    looks = steady(1, 30, 10)
    assert after(*looks).replicas == 5
    assert after(*looks, *steady(5, 30, 4, since=12)).replicas == 5
    assert after(*looks, *steady(5, 30, 10, since=12)).replicas == 8


scales = st.builds(
    lambda low, more, requests: Scale(min=low, max=low + more, requests=requests),
    st.integers(0, 6), st.integers(1, 9), st.floats(0.5, 50),
)  # fmt: skip
runs = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 400), st.sampled_from([2.0, 2.0, 4.0, 60.0])),
    min_size=1, max_size=60,
)  # fmt: skip


@given(scales, runs)
def test_whatever_is_seen_the_bounds_hold(scale: Scale, seen: list[tuple[int, int, float]]) -> None:
    memory, at = Memory(), 0.0
    replicas = seen[0][0]
    for ready, in_flight, pause in seen:
        look = Look(at, replicas, min(ready, replicas), in_flight)
        decided = decide(memory.seen(look, scale), scale)
        low = 0 if scale.min == 0 else scale.least
        assert low <= decided.replicas <= scale.max
        assert bool(decided.why) == (decided.replicas != replicas)
        if replicas in range(1, scale.max + 1) and decided.replicas > replicas >= scale.least:
            assert decided.replicas <= max(SURGE * replicas, replicas + STEP)
        memory, replicas, at = decided.memory, decided.replicas, at + pause


@settings(max_examples=15)
@given(scales, st.integers(0, 60))
def test_a_load_that_does_not_change_leads_to_a_number_that_does_not(
    scale: Scale, in_flight: int
) -> None:
    """However many there are to begin with: it goes one way only, and stays there."""
    for first in (scale.least, scale.max):
        memory, replicas, numbers = Memory(), first, [first]
        for number in range(700):
            look = Look(number * EVERY, replicas, replicas, in_flight, number)
            decided = decide(memory.seen(look, scale), scale)
            memory, replicas = decided.memory, decided.replicas
            numbers += [replicas] if replicas != numbers[-1] else []
        assert numbers in (sorted(numbers), sorted(numbers, reverse=True))
        assert numbers[-1] == replicas
