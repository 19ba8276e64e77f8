"""How much evidence a step needs, told before it begins.

A candidate that is as good as the stable version passes once the wealth of the bet on it is
large enough. How fast that grows follows from what is known before: how often the stable version
fails, or is slower than the limit, and how the requests are shared.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from llmlab.answered import Answer
from llmlab.rollout.answer_gate import Bound, parse_answer_gate
from llmlab.rollout.evidence import EQUAL
from llmlab.rollout.judging import pass_level
from llmlab.rollout.observed import SELDOM, quantile
from llmlab.rollout.problems import Problem
from llmlab.rollout.running import Running
from llmlab.rollout.seen import Seen, seen_in
from llmlab.rollout.sequential import STAKES
from llmlab.rollout.speed import FEWEST, Condition, parse_speed
from llmlab.rollout.state import Kind, Rollout

USUAL_ERRORS = 0.01  # of a deployment that nobody has asked yet
PRIOR = 50  # answers that it takes to believe half of what they say of that
NEVER = 1e9  # answers
LATELY = 3600.0  # seconds, whose traffic is what is usual
LINES = 100_000  # of the gateway's log; the newest


@dataclass(frozen=True)
class Usual:
    """What the stable deployment's answers were like of late.

    Args:
        rate: requests a second; 0 where nobody knows.
        errors: the share that failed.
        seconds: of the newest answers.
        answers: what their API has told of these; None where it told nothing.
    """

    rate: float = 0.0
    errors: float = USUAL_ERRORS
    seconds: tuple[float, ...] = ()
    answers: tuple[Answer | None, ...] = ()

    @classmethod
    def of(cls, seen: Sequence[Seen], deployment: str, now: float) -> Usual:
        """From answers in the order of their time."""
        mine = [one for one in seen if one.deployment == deployment and not one.gave_up]
        if len(mine) < FEWEST:
            return cls()
        within = max(now - mine[0].at, 1.0)
        failed = sum(one.error for one in mine)
        seconds = tuple(one.seconds for one in mine[-1000:] if one.seconds is not None)
        # Of few answers it is not known, and without any error so far there may still be some.
        errors = (failed + USUAL_ERRORS * PRIOR) / (len(mine) + PRIOR)
        answers = tuple(one.answer for one in mine[-1000:])
        return cls(len(mine) / within, errors, seconds, answers)


@dataclass(frozen=True)
class Need:
    """What one test of a step takes, for a candidate that is as good.

    Args:
        step: from 1.
        percent: of the requests, for the candidate.
        metric: as the finding's.
        answers: of the candidate; at least ``NEVER`` for more than there will ever be.
        seconds: until there are so many; None where nobody knows how many requests come.
    """

    step: int
    percent: float
    metric: str
    answers: float
    seconds: float | None


def usual_of(running: Running, deployment: str) -> Usual:
    """What the gateway's log says of the last hour.

    Raises:
        UpstreamError: the lab does not run.
    """
    now = time.time()
    lines, _ = running.requests_since("0", after=now - LATELY)
    seen = [one for one in map(seen_in, lines[-LINES:]) if one and one.at >= now - LATELY]
    return Usual.of(seen, deployment, now)


def told(rollout: Rollout, usual: Usual) -> Iterator[Problem]:
    """What each step takes, as notes, and a warning for each that cannot decide in time."""
    if rollout.kind is not Kind.CANARY:
        return
    deadline = rollout.rules.progress_deadline
    for (step, percent), group in groupby(
        needs(rollout, usual), key=lambda one: (one.step, one.percent)
    ):
        tests = list(group)
        said = ", ".join(f"{_so_many(one)} for {one.metric}" for one in tests)
        name = f"step {step} ({percent:g} %{rollout.held_at(step)})"
        yield Problem("note", f"{name} takes at least so many answers of the candidate: {said}")
        slowest = max(tests, key=lambda one: one.answers)
        if slowest.seconds is not None and slowest.seconds > deadline:
            yield Problem(
                "warning", f"{name} is not decided by its deadline: it takes {_so_many(slowest)} "
                f"for {slowest.metric}, and it has {time_of(deadline)}",
                "a later deadline (--progress-deadline), more of the requests (--steps), more of "
                "them held back at the last step (rollout.holdback), or a wider rollout."
                + _rule_of(slowest.metric),
            )  # fmt: skip


def _rule_of(metric: str) -> str:
    if metric == "errors":
        return "error_margin"
    return "latency_gate" if metric.startswith("latency") else "answer_gate"


def _so_many(one: Need) -> str:
    if one.answers >= NEVER:
        return "more than there will ever be"
    return f"{one.answers:,.0f}" + ("" if one.seconds is None else f" ({time_of(one.seconds)})")


def time_of(seconds: float) -> str:
    """``30 s``, ``30 min`` or ``2 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def needs(rollout: Rollout, usual: Usual) -> Iterator[Need]:
    """All tests of all steps of a canary."""
    rules = rollout.rules
    for step in range(1, rollout.last_step + 1):
        percent = rollout.share_at(step)
        level = pass_level(rollout)
        bets = _errors(percent, usual.errors, rules.error_margin, level)
        yield _need(step, percent, "errors", bets, usual.rate, rules.min_samples)
        for one in parse_speed(rules.latency_gate):
            judged = percent <= EQUAL or not one.ratio
            if judged and len(usual.seconds) >= FEWEST:
                answers = _speed(one, usual.seconds, level)
                name = f"latency p{100 * one.quantile:g}"
                yield _need(step, percent, name, answers, usual.rate, rules.min_samples)
        for bound in parse_answer_gate(rules.answer_gate):
            takes = _answers(bound, percent, usual, level)
            if takes is not None:
                yield _need(step, percent, bound.name, takes, usual.rate, rules.min_samples)


def _answers(bound: Bound, percent: float, usual: Usual, level: float) -> float | None:
    """Pairs until it is known of how answers come and end; None where it need not be."""
    there = [one for one in usual.answers if one]
    hits = [hit for one in there if (hit := bound.hit(one)) is not None]
    seconds = [value for one in there if (value := bound.seconds(one)) is not None]
    telling = len(hits) or len(seconds)
    if telling < max(FEWEST, SELDOM * len(usual.answers)):
        return None
    if bound.condition is None:
        share = (sum(hits) + USUAL_ERRORS * PRIOR) / (len(hits) + PRIOR)
        bets = _errors(percent, share, bound.margin, level)
    elif percent <= EQUAL or not bound.condition.ratio:
        bets = _speed(bound.condition, seconds, level)
    else:
        return None
    return bets * len(usual.answers) / telling


def _need(step: int, percent: float, metric: str, bets: float, rate: float, fewest: int) -> Need:
    """``bets``: pairs of the two, of which there are as many as the fewer answers."""
    share = percent / 100
    answers = max(float(fewest), bets * share / min(share, 1 - share))
    return Need(step, percent, metric, answers, answers / (rate * share) if rate else None)


def _errors(percent: float, errors: float, margin: float, level: float) -> float:
    """Pairs until errors are known to be no more than ``margin`` above. One side's answers are
    single ones, and so many of the other's come to each that their mean is as good as known."""
    worst = 1 - margin
    if percent <= 50:
        outcomes = ((errors, margin + errors - 1), (1 - errors, margin + errors))
    else:
        outcomes = ((errors, margin + 1 - errors), (1 - errors, margin - errors))
    return pairs([(share, gain / worst) for share, gain in outcomes], level)


def _speed(condition: Condition, seconds: Sequence[float], level: float) -> float:
    """Answers until it is known that no more than allowed are slow."""
    usual = quantile(seconds, condition.quantile)
    assert usual is not None
    slow = sum(one > condition.limit(usual) for one in seconds) / len(seconds)
    allowed, worst = condition.allowed, condition.quantile
    outcomes = ((slow, (allowed - 1) / worst), (1 - slow, allowed / worst))
    return pairs(list(outcomes), level)


def pairs(outcomes: Sequence[tuple[float, float]], level: float) -> float:
    """How many bets it takes until the wealth is 1/level, if each goes as it does on average.

    Args:
        outcomes: the probability of each, and its gain as a share of the largest loss.
    """
    growth = [sum(share * math.log1p(stake * gain) for share, gain in outcomes) for stake in STAKES]
    if max(growth) <= 0:
        return NEVER

    def wealth(bets: float) -> float:
        return sum(math.exp(min(bets * one, 690.0)) for one in growth) / len(growth)

    low, high = 0.0, 1.0
    while wealth(high) < 1 / level:
        high *= 2
        if high > NEVER:
            return NEVER
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if wealth(middle) < 1 / level else (low, middle)
    return high
