"""Traffic as it comes in, made up or recorded: what rollouts are simulated with.

In every world the candidate may be the stable version itself (the default) or a worse one. What
makes a world hard is that answers are no independent samples: load comes in waves, failures in
bursts, a queue grows with the share of the traffic, and a few subjects bring most of it.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, count
from typing import Protocol

from llmlab.rollout.made_pairs import MadePairs
from llmlab.rollout.made_texts import MadeTexts, Row
from llmlab.rollout.seen import Seen, seen_in
from llmlab.rollout.state import Version
from llmlab.rollout.told import Told

STABLE, CANDIDATE = Version("stable", "stable"), Version("candidate", "candidate")


class Traffic(Protocol):
    """The requests of one run."""

    def subject(self) -> str:
        """Who asks next."""

    def answer(self, subject: str, candidate: bool, at: float, since_last: float | None) -> Seen:
        """What it gets.

        Args:
            at: seconds since the rollout began.
            since_last: seconds since the last step began; None before.
        """

    def text(self) -> str:
        """Which one is sent; "" for one that nobody has sent before."""

    def pair(self, subject: str, text: str, at: float) -> Mapping[str, tuple[float, float]] | None:
        """What both make of it; None where nobody knows."""

    def rows(self) -> list[Row]:
        """How both's answers to a suite are measured; asked for at each step."""


@dataclass(frozen=True)
class World:
    """Args:
    rate: requests a second.
    error_rate: of the stable version.
    median, spread: of its seconds, log-normal.
    tail: of its seconds, if they are to be Pareto's: above 1; 0 for log-normal.
    doubling: seconds in which everything takes twice as long; 0 for never.
    memory, wave: how much of the load at one moment is left a request later, 0 to 1, and how high
        its waves are, as the spread of the logarithm of seconds.
    burst: the share of requests that fail, of either version, while there is a burst of errors:
        20 seconds in 200, on average.
    topics: refusals come in such bursts.
    load: of the only place where a version works, if it has all the traffic: whoever finds it
        taken waits. 0: nobody ever waits.
    told: the API tells how long that was.
    subjects: that bring the requests, the n-th of them 1/n as many as the first; 0: each request
        is somebody else's.
    differ: how much subjects differ in their seconds, as the spread of the logarithm.
    failing, fail: so many subjects whose requests fail at such a share, whoever answers.
    more_errors, slower: what is different about the candidate: a share, and a factor.
    broken: a share of its answers that fail from the middle of its last step on.
    refused: so many subjects always get an error from it.
    answers: how they come and end; None where no API tells.
    pairs: what both make of the same texts; None where these are not paired.
    texts: what both make of a suite's texts; None where these are not judged.
    """

    rate: float = 10.0
    error_rate: float = 0.01
    median: float = 0.2
    spread: float = 0.5
    tail: float = 0.0
    doubling: float = 0.0
    memory: float = 0.0
    wave: float = 0.0
    burst: float = 0.0
    topics: bool = False
    load: float = 0.0
    told: bool = False
    subjects: int = 0
    differ: float = 0.0
    failing: int = 0
    fail: float = 0.2
    more_errors: float = 0.0
    slower: float = 1.0
    broken: float = 0.0
    broken_after: float = 30.0
    refused: int = 0
    answers: Told | None = None
    pairs: MadePairs | None = None
    texts: MadeTexts | None = None


@dataclass
class MadeUp:
    """The traffic of a world."""

    world: World
    chance: random.Random
    _wave: float = 0.0
    _bursting: bool = False
    _burst_at: float = 0.0
    _pairs: dict[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    _free_at: dict[bool, float] = field(default_factory=lambda: {False: -math.inf, True: -math.inf})

    def __post_init__(self) -> None:
        world = self.world
        self._number = count()
        self._heard = list(accumulate(1 / (n + 1) for n in range(world.subjects)))
        names = [f"s{n}" for n in range(world.subjects)]
        self._offset = {name: self.chance.gauss(0, world.differ) for name in names}
        self._failing = set(self.chance.sample(names, world.failing)) if world.failing else set()
        self._refused = set(self.chance.sample(names, world.refused)) if world.refused else set()

    def subject(self) -> str:
        if not self._heard:
            return f"n{next(self._number)}"
        where = self.chance.random() * self._heard[-1]
        return f"s{bisect_right(self._heard, where)}"

    def answer(self, subject: str, candidate: bool, at: float, since_last: float | None) -> Seen:
        world, chance = self.world, self.chance
        name = (CANDIDATE if candidate else STABLE).deployment
        if chance.random() < self._errors(subject, candidate, at, since_last):
            return Seen(name, True, None, False, subject, at)
        factor = self._factor(subject, at)
        work = world.median * factor
        if world.tail:
            work *= (1 - chance.random()) ** (-1 / world.tail)
        else:
            work *= math.exp(chance.gauss(0, world.spread))
        work *= world.slower if candidate else 1.0
        waited = self._waited(candidate, at, work)
        told = None
        if world.answers:
            bursting = bool(world.topics) and self._in_burst(at)
            told = world.answers.answer(subject, candidate, factor, bursting, chance)
        seconds = work + (0 if world.told else waited)
        return Seen(name, False, seconds, False, subject, at, answer=told)

    def text(self) -> str:
        made = self.world.pairs
        if not made or not made.popular or self.chance.random() >= made.asked:
            return ""
        return f"popular {self.chance.randrange(made.popular)}"

    def pair(self, subject: str, text: str, at: float) -> Mapping[str, tuple[float, float]] | None:
        made = self.world.pairs
        if made is None:
            return None
        if not text:
            return made.values(subject, self.chance, at)
        if text not in self._pairs:  # neither samples: the same text, the same pair
            self._pairs[text] = made.values(subject, self.chance, at)
        return self._pairs[text]

    def rows(self) -> list[Row]:
        return self.world.texts.rows(self.chance) if self.world.texts else []

    def _errors(self, subject: str, candidate: bool, at: float, since_last: float | None) -> float:
        world = self.world
        share = world.error_rate
        if world.burst and self._in_burst(at):
            share = world.burst
        if subject in self._failing:
            share = world.fail
        if candidate:
            share += world.more_errors
            if subject in self._refused:
                return 1.0
            if since_last is not None and since_last >= world.broken_after:
                share += world.broken
        return share

    def _factor(self, subject: str, at: float) -> float:
        world = self.world
        if world.wave:
            push = math.sqrt(1 - world.memory**2) * self.chance.gauss(0, world.wave)
            self._wave = world.memory * self._wave + push
        logarithm = self._wave + self._offset.get(subject, 0.0)
        if world.doubling:
            logarithm += math.log(2) * at / world.doubling
        return math.exp(logarithm)

    def _in_burst(self, at: float) -> bool:
        while self._burst_at <= at:
            self._bursting = not self._bursting
            self._burst_at += self.chance.expovariate(1 / (20 if self._bursting else 180))
        return self._bursting

    def _waited(self, candidate: bool, at: float, work: float) -> float:
        """How long it waits for its turn. ``work`` has a mean of exp(spread^2 / 2) medians."""
        world = self.world
        if not world.load:
            return 0.0
        begins = max(at, self._free_at[candidate])
        self._free_at[candidate] = begins + work
        return begins - at


def with_load(world: World, load: float) -> World:
    """A world in which a version that has all the traffic is busy for such a share of the time."""
    median = load / world.rate / math.exp(world.spread**2 / 2)
    return replace(world, load=load, median=median)


@dataclass
class Played:
    """A record, from a random place on, round and round. Who got what of it is made up."""

    record: Sequence[Seen]
    chance: random.Random

    def __post_init__(self) -> None:
        self._place = self.chance.randrange(len(self.record))

    def subject(self) -> str:
        self._place = (self._place + 1) % len(self.record)
        return self.record[self._place].subject

    def answer(self, subject: str, candidate: bool, at: float, since_last: float | None) -> Seen:
        name = (CANDIDATE if candidate else STABLE).deployment
        return replace(self.record[self._place], deployment=name, at=at)

    def text(self) -> str:
        """A log has none."""
        return ""

    def pair(self, subject: str, text: str, at: float) -> None:
        """Nor what anybody made of it."""

    def rows(self) -> list[Row]:
        return []


Made = Callable[[random.Random], Traffic]


def recorded(lines: Iterable[str], deployment: str = "") -> list[Seen]:
    """What clients got, from a gateway's access log, in its order."""
    seen = filter(None, map(seen_in, lines))
    return [one for one in seen if not deployment or one.deployment == deployment]


PLAIN = World()
CROWD = World(subjects=300, differ=0.5)
FEW = World(subjects=20, differ=0.7)
TOLD = World(answers=Told())
PAIRED = World(subjects=20, pairs=MadePairs(hard=2))
# Equal versions: what a gate that keeps its promise leaves alone.
EQUAL: dict[str, World] = {
    "independent, errors 0.1 %": World(error_rate=0.001),
    "independent, errors 1 %": PLAIN,
    "independent, errors 5 %": World(error_rate=0.05),
    "heavy tails (Pareto 1.1)": World(tail=1.1),
    "latency doubling in 10 minutes": World(doubling=600.0),
    "waves of latency": World(memory=0.995, wave=0.8),
    "waves, and bursts of errors": World(memory=0.995, wave=0.8, burst=0.3),
    "a queue at load 0.5": with_load(PLAIN, 0.5),
    "a queue at load 0.7": with_load(PLAIN, 0.7),
    "a queue at load 0.8": with_load(PLAIN, 0.8),
    "a queue at load 0.8, told": replace(with_load(PLAIN, 0.8), told=True),
    "300 subjects by Zipf, latency differs": CROWD,
    "20 subjects by Zipf, latency differs": FEW,
    "20 subjects, two with 20 % errors": World(subjects=20, failing=2, error_rate=0.001),
    "answers as their API tells": TOLD,
    "first tokens in waves": replace(TOLD, memory=0.995, wave=0.8),
    "gaps differ by subject, 20 by Zipf": replace(FEW, answers=Told(spread=0.8)),
    "two of 20 subjects always cut off": World(subjects=20, answers=Told(brief=2)),
    "refusals in bursts": replace(TOLD, topics=True),
    "only two of 20 subjects ask for JSON": World(subjects=20, answers=Told(formal=2, invalid=0.1)),
    "paired texts, both invent of two of 20 subjects": PAIRED,
}
# Worse ones: what it finds.
WORSE: dict[str, World] = {
    "+3 points of errors": World(more_errors=0.03),
    "+5 points of errors": World(more_errors=0.05),
    "+10 points of errors": World(more_errors=0.10),
    "+20 points of errors": World(more_errors=0.20),
    "latency x 1.5": World(slower=1.5),
    "latency x 2": World(slower=2.0),
    "4 ms -> 40 ms": World(median=0.004, slower=10.0),
    "3 of 300 subjects always fail": replace(CROWD, refused=3),
    "+10 points from the middle of the last step": World(broken=0.10),
    "+20 points from the middle of the last step": World(broken=0.20),
    "first token x 2": replace(TOLD, answers=Told(later=2.0)),
    "10 % of streams pause for 2 s": replace(TOLD, answers=Told(stalls=0.10)),
    "+15 points cut off": replace(TOLD, answers=Told(more_cut=0.15)),
    "+15 points of refusals": replace(TOLD, answers=Told(more_refused=0.15)),
    "+30 points of invalid JSON": replace(TOLD, answers=Told(more_invalid=0.30)),
    "+10 points of paired texts invent": replace(PAIRED, pairs=MadePairs(more_invented=0.10)),
}
