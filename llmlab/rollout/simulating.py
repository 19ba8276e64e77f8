"""Rollouts without a lab: the same evidence, gate and state machine, with made-up or recorded
traffic and a clock that costs nothing.

What it is for: to show how often a candidate that *is* the stable version gets aborted (an A/A
rollout; a false alarm), and how far a worse one gets.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from statistics import median
from typing import TypedDict, cast

from llmlab.evaluate.statistics import binomial_tail
from llmlab.rollout.evidence import Evidence
from llmlab.rollout.judging import judge
from llmlab.rollout.machine import Deployed, Tick, step
from llmlab.rollout.sequential import lower_bound, upper_bound
from llmlab.rollout.state import Kind, Phase, Rollout, Rules
from llmlab.rollout.texts import look_at_rows
from llmlab.rollout.worlds import CANDIDATE, STABLE, Made, MadeUp, Traffic, World

LONGEST = 50_000  # ticks
FEWEST_RECORDED = 200  # requests, below which a log says little
BEFORE = 600.0  # seconds that the stable version has served when the rollout begins


@dataclass(frozen=True)
class Run:
    """How a simulated rollout went.

    Args:
        seconds: that it took.
        answers, failed: of the candidate.
        given_back: the number of those at which it got less traffic than before, or none, for the
            first time; None for never.
        reacted: seconds from when something broke to then.
    """

    rollout: Rollout
    seconds: float
    answers: int
    failed: int
    given_back: int | None = None
    reacted: float | None = None

    @property
    def aborted(self) -> bool:
        return self.rollout.phase is Phase.ABORTING

    @property
    def promoted(self) -> bool:
        return self.rollout.phase is Phase.COMPLETING


def simulate(
    rules: Rules, traffic: Traffic, chance: random.Random, *, rate: float = 10.0,
    before: float = BEFORE, breaks_after: float | None = None,
    arrivals: Callable[[int], list[float]] | None = None,
) -> Run:  # fmt: skip
    """A canary rollout from its first step until it is over, or waits for a person.

    Args:
        before: seconds that the stable version served before, and that the gateway's log has.
        breaks_after: seconds from the beginning of the last step, for ``Run.reacted``.
        arrivals: when requests come within a second; by chance, if it is not said.
    """
    arrivals = arrivals or (lambda second: _arrivals(second, rate, chance))
    rollout = step(
        Rollout(1, Kind.CANARY, STABLE, "", (CANDIDATE,), STABLE.deployment, rules),
        Deployed(), 0.0,
    )  # fmt: skip
    evidence = Evidence.of(rollout)
    places: dict[str, float] = {}
    for second in range(-int(before), 0):
        for at in arrivals(second):
            evidence.learn(traffic.answer(traffic.subject(), False, at, None))
    last_since: float | None = None
    answers = failed = 0
    given_back: int | None = None
    reacted: float | None = None
    now = 0
    for now in range(1, LONGEST):
        evidence.begin(rollout.step, rollout.percent)
        if rollout.step == rollout.last_step and last_since is None:
            last_since = float(now - 1)
        for at in arrivals(now - 1):
            subject = traffic.subject()
            place = places.setdefault(subject, chance.random())
            seen = traffic.answer(
                subject, 100 * place < rollout.percent, at,
                None if last_since is None else at - last_since,
            )  # fmt: skip
            if seen.deployment == CANDIDATE.deployment:
                answers += 1
                failed += seen.error
            evidence.add(seen)
            if seen.deployment == STABLE.deployment and not seen.error:
                _pair(evidence, rules, traffic, subject, at, chance)
        evidence.until(float(now))
        was = rollout.percent
        if rules.text_gate and evidence.texts.step != rollout.step:
            evidence.texts = look_at_rows(rollout, evidence.texts, traffic.rows())
        verdict = judge(rollout, evidence, evidence.texts.finding)
        rollout = step(rollout, Tick(verdict), float(now))
        less = rollout.percent < was or rollout.phase is Phase.ABORTING
        if less and given_back is None:
            given_back = answers
            if last_since is not None and breaks_after is not None:
                reacted = now - last_since - breaks_after
        if rollout.phase is not Phase.PROGRESSING:
            break
    return Run(rollout, float(now), answers, failed, given_back, reacted)


def _pair(
    evidence: Evidence, rules: Rules, traffic: Traffic, subject: str, at: float,
    chance: random.Random,
) -> None:  # fmt: skip
    """Hold what the stable version has answered against the candidate's, if it is one of the share
    that is paired, and the first of its subject in the slice."""
    if not rules.pairs or chance.random() >= rules.pairs:
        return
    sent = traffic.text()
    unit, text = f"{evidence.slice} {subject}", sent or f"text {evidence.pairs.pairs}"
    if evidence.pairs.is_new(unit, text):
        evidence.pairs.meet(unit, text)
        evidence.pairs.add(traffic.pair(subject, sent, at) or {})


def _arrivals(second: int, rate: float, chance: random.Random) -> list[float]:
    return sorted(second + chance.random() for _ in range(_poisson(chance, rate)))


def _poisson(chance: random.Random, mean: float) -> int:
    """Knuth's way; means are small."""
    limit, product, number = math.exp(-mean), chance.random(), 0
    while product > limit:
        product *= chance.random()
        number += 1
    return number


class SimulatedWorld(TypedDict):
    """Many rollouts in one world.

    Args:
        world: what was simulated.
        alpha: the nominal level: at most this share of equal versions should be aborted.
        answers: of the candidate, until it got less traffic than before: the median over those
            runs in which that happened; null if it never did.
        reacted: seconds from when it broke to then; likewise.
        minutes: that a rollout took, likewise.
        rate: share of the runs that were aborted.
        interval: Wilson's 95 % interval of it.
        above: whether so many false alarms are too many for chance alone.
    """

    world: str
    runs: int
    aborted: int
    promoted: int
    paused: int
    alpha: float
    reasons: tuple[str, ...]
    answers: float | None
    reacted: float | None
    minutes: float
    rate: float
    interval: tuple[float, float]
    above: bool


class Simulation(TypedDict):
    """What the gate did in worlds with equal versions, and with worse ones."""

    seed: int
    alpha: float
    equal: list[SimulatedWorld]
    worse: list[SimulatedWorld]


@dataclass(frozen=True)
class Drill:
    """Many rollouts in one world; of equal versions, those that were aborted are false alarms.

    Args:
        alpha: the nominal level: at most this share of equal versions should be aborted.
        answers: of the candidate, until it got less traffic than before: the median over those
            runs in which that happened; None if it never did.
        reacted: seconds from when it broke to then; likewise.
        minutes: that a rollout took, likewise.
    """

    runs: int
    aborted: int
    promoted: int
    paused: int
    alpha: float
    reasons: tuple[str, ...] = ()
    answers: float | None = None
    reacted: float | None = None
    minutes: float = 0.0

    @property
    def rate(self) -> float:
        return self.aborted / self.runs

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the rate."""
        return lower_bound(self.aborted, self.runs), upper_bound(self.aborted, self.runs)

    @property
    def above(self) -> bool:
        """Whether so many false alarms are too many, at the level 5 %, for chance alone."""
        return self.aborted > 0 and binomial_tail(self.aborted, self.runs, self.alpha) < 0.05

    def as_json(self, world: str) -> SimulatedWorld:
        told = {"world": world, **asdict(self), "rate": self.rate, "interval": self.interval}
        return cast(SimulatedWorld, told | {"above": self.above})


def drill(
    rules: Rules, made: Made, *, runs: int, seed: int, rate: float = 10.0, before: float = BEFORE,
    breaks_after: float | None = None, done: Callable[[], None] = lambda: None,
) -> Drill:  # fmt: skip
    """So many rollouts with the traffic of one world.

    Args:
        rules: the texts of the two would be the same, so these are not judged, nor paired.
        made: the traffic of one run.
        done: called after each.
    """
    found = []
    for number in range(runs):
        chance = _chance(seed, number)
        found.append(
            simulate(
                replace(rules, text_gate="", pairs=0.0), made(chance), chance, rate=rate,
                before=before, breaks_after=breaks_after,
            )
        )  # fmt: skip
        done()
    return summed_up(found, rules.alpha)


def in_worlds(
    rules: Rules, worlds: Mapping[str, World], *, runs: int, seed: int,
    done: Callable[[], None] = lambda: None,
) -> Iterator[tuple[str, Drill]]:  # fmt: skip
    """So many rollouts in each of several worlds, on all cores; world by world, in their order."""
    # Forked, a child would have the locks of a progress bar's thread.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        waiting = {
            name: [pool.submit(run_in, world, rules, seed, number) for number in range(runs)]
            for name, world in worlds.items()
        }
        for name, futures in waiting.items():
            found = []
            for future in futures:
                found.append(future.result())
                done()
            yield name, summed_up(found, rules.alpha)


def run_in(world: World, rules: Rules, seed: int, number: int) -> Run:
    """One of the rollouts in a world; the same again for the same numbers. Where no API tells how
    answers come and end, that is not judged; nor a suite, where the world has none; where texts are
    paired, the world says how many."""
    chance = _chance(seed, number)
    gate = rules.answer_gate if world.answers else ""
    pairs = world.pairs.share if world.pairs else 0.0
    text_gate = rules.text_gate if world.texts else ""
    return simulate(
        replace(rules, text_gate=text_gate, answer_gate=gate, pairs=pairs), MadeUp(world, chance),
        chance, rate=world.rate, breaks_after=world.broken_after if world.broken else None,
    )  # fmt: skip


def _chance(seed: int, number: int) -> random.Random:
    return random.Random(f"{seed}-{number}")  # noqa: S311  it is to be repeatable


def summed_up(found: list[Run], alpha: float) -> Drill:
    aborted = [one for one in found if one.aborted]
    return Drill(
        len(found), len(aborted), sum(one.promoted for one in found),
        sum(one.rollout.phase is Phase.PAUSED for one in found), alpha,
        tuple(one.rollout.ending for one in aborted[:3]),
        _median(one.given_back for one in found), _median(one.reacted for one in found),
        median(one.seconds for one in found) / 60,
    )  # fmt: skip


def _median(values: Iterable[float | None]) -> float | None:
    known = [one for one in values if one is not None]
    return median(known) if known else None
