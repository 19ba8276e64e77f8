"""Rollouts without a lab: the same evidence, gate and state machine, with made-up or recorded
traffic and a clock that costs nothing.

What it is for: to show how often a candidate that *is* the stable version gets aborted (an A/A
rollout; a false alarm), and how far a worse one gets.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from llmlab.evaluate.statistics import binomial_tail
from llmlab.rollout.evidence import Evidence, Seen, seen_in
from llmlab.rollout.judging import judge
from llmlab.rollout.machine import Deployed, Tick, step
from llmlab.rollout.sequential import upper_bound
from llmlab.rollout.state import Kind, Phase, Rollout, Rules, Version

STABLE, CANDIDATE = Version("stable", "stable"), Version("candidate", "candidate")
LONGEST = 50_000  # ticks
FEWEST_RECORDED = 200  # requests, below which a log says little


@dataclass(frozen=True)
class World:
    """Traffic as it comes in.

    Args:
        rate: requests a second.
        error_rate: of the stable version.
        median, spread: of its seconds, log-normal.
        memory: how much of the load at one moment is left a request later, 0 to 1: with more,
            latencies come in waves.
        wave: how high those waves are, as the spread of the logarithm.
        more_errors, slower: what is different about the candidate: a share, and a factor.
    """

    rate: float = 10.0
    error_rate: float = 0.01
    median: float = 0.2
    spread: float = 0.5
    memory: float = 0.0
    wave: float = 0.0
    more_errors: float = 0.0
    slower: float = 1.0


Answers = Callable[[bool], Seen]  # whether it is the candidate's


def made_up(world: World, chance: random.Random) -> Answers:
    """Answers of a world, one after the other."""
    load = 0.0

    def answer(candidate: bool) -> Seen:
        nonlocal load
        load = world.memory * load + math.sqrt(1 - world.memory**2) * chance.gauss(0, world.wave)
        name = (CANDIDATE if candidate else STABLE).deployment
        if chance.random() < world.error_rate + (world.more_errors if candidate else 0):
            return Seen(name, True)
        seconds = world.median * math.exp(load + chance.gauss(0, world.spread))
        return Seen(name, False, seconds * (world.slower if candidate else 1))

    return answer


def recorded(lines: Iterable[str], deployment: str = "") -> list[Seen]:
    """What clients got, from a gateway's access log, in its order."""
    seen = filter(None, map(seen_in, lines))
    return [one for one in seen if not deployment or one.deployment == deployment]


def played(record: Sequence[Seen], chance: random.Random) -> Answers:
    """A record, from a random place on, round and round. Who got what of it is made up."""
    place = chance.randrange(len(record))

    def answer(candidate: bool) -> Seen:
        nonlocal place
        place = (place + 1) % len(record)
        return replace(record[place], deployment=(CANDIDATE if candidate else STABLE).deployment)

    return answer


def simulate(
    rules: Rules, answers: Answers, chance: random.Random, *, rate: float = 10.0
) -> Rollout:
    """A canary rollout from its first step until it is over, or waits for a person."""
    rollout = step(
        Rollout(1, Kind.CANARY, STABLE, "", (CANDIDATE,), STABLE.deployment, rules),
        Deployed(), 0.0,
    )  # fmt: skip
    evidence = Evidence.of(rollout)
    for now in range(1, LONGEST):
        evidence.begin(rollout.step)
        for _ in range(_poisson(chance, rate)):
            candidate = chance.random() * 100 < rollout.percent
            evidence.add(answers(candidate), alone=rollout.alone, ratio=rules.latency_ratio)
        rollout = step(rollout, Tick(judge(rollout, evidence, None)), float(now))
        if rollout.phase is not Phase.PROGRESSING:
            break
    return rollout


def _poisson(chance: random.Random, mean: float) -> int:
    """Knuth's way; means are small."""
    limit, product, number = math.exp(-mean), chance.random(), 0
    while product > limit:
        product *= chance.random()
        number += 1
    return number


@dataclass(frozen=True)
class Drill:
    """Many A/A rollouts: how many of them were aborted, which is a false alarm.

    Args:
        alpha: the nominal level: at most this share should be.
    """

    runs: int
    aborted: int
    promoted: int
    paused: int
    alpha: float
    reasons: tuple[str, ...] = ()

    @property
    def rate(self) -> float:
        return self.aborted / self.runs

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the rate."""
        low = 1 - upper_bound(self.runs - self.aborted, self.runs)
        return low, upper_bound(self.aborted, self.runs)

    @property
    def above(self) -> bool:
        """Whether so many false alarms are too many, at the level 5 %, for chance alone."""
        return self.aborted > 0 and binomial_tail(self.aborted, self.runs, self.alpha) < 0.05


def drill(
    rules: Rules, answers: Callable[[random.Random], Answers], *, runs: int, seed: int,
    rate: float = 10.0, done: Callable[[], None] = lambda: None,
) -> Drill:  # fmt: skip
    """Roll a version out against itself, so many times.

    Args:
        rules: the texts of the two would be the same, so these are not judged.
        answers: the traffic of one run.
        done: called after each.
    """
    ends = []
    for number in range(runs):
        chance = random.Random(f"{seed}-{number}")  # noqa: S311  it is to be repeatable
        ends.append(simulate(replace(rules, text_gate=""), answers(chance), chance, rate=rate))
        done()
    aborted = [one for one in ends if one.phase is Phase.ABORTING]
    return Drill(
        runs, len(aborted), sum(one.phase is Phase.COMPLETING for one in ends),
        sum(one.phase is Phase.PAUSED for one in ends), rules.alpha,
        tuple(one.ending for one in aborted[:3]),
    )  # fmt: skip
