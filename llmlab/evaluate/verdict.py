"""Judge a model by a gate: pass, fail or inconclusive, and why.

A condition *passes* if the 95 % confidence interval lies within its bound, and *fails* if it
lies wholly beyond; in between, the texts do not decide. That is the test for non-inferiority
(DESIGN), with two precautions against a false alarm:

- The gate fails as soon as one of its k conditions does, so each may err in only 1/k of the
  cases (Bonferroni): the interval that has to lie beyond has the level 1 - alpha/k. To pass,
  all conditions have to, and no one of them needs a correction for that (an
  intersection-union test, Berger 1982).
- Bootstrap intervals are somewhat narrow for few texts. So to fail, a test that makes no such
  approximation has to agree: the permutation test (against a baseline), with the bound
  allowed for, or the binomial test (a quantile against a plain bound).

What is counted and should be rare, such as empty summaries, is often not seen at all in a few
texts, and a bootstrap of nothing is sure that there is nothing. Who asks about more than these
texts (``rare``) gets the exact upper end for the share of texts in which the candidate is worse,
times the most that it is worse by. The same of checks that all answers pass: failures are what
should be rare there.

Fewer than ``MINIMUM`` texts, or none, never pass and never fail. Nor does a condition pass if
the candidate has no value for a text: a failed or empty answer, or one that the baseline has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

from llmlab.evaluate.comparison import aggregate_of, pairs
from llmlab.evaluate.gate import Against, Condition, Gate, GateError, parse_gate
from llmlab.evaluate.measures import COUNTED, PASSED, Scores
from llmlab.evaluate.statistics import (
    RESAMPLES,
    Bootstrap,
    Floats,
    Interval,
    binomial_tail,
    exchange_p,
    most_likely_share,
    of_pairs,
    of_sample,
)

ALPHA = 0.05
MINIMUM = 10  # texts
ROUNDING = 1e-9  # by which an interval may miss a bound that it is meant to touch


class Outcome(StrEnum):
    PASS = "pass"  # noqa: S105  no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Finding:
    """How one condition came out.

    Args:
        condition: As it was written.
        outcome: Pass, fail or inconclusive.
        reason: One sentence with the numbers.
        n: Texts that were counted.
        candidate, baseline: The metric of either; None where unknown.
        estimate: What is compared with the bound: a value, a difference or a ratio.
        interval: Of the estimate, 95 %.
        family_interval: Of the estimate, at the level that a fail takes.
        p: Of the test that has to agree with a fail.
    """

    condition: str
    outcome: Outcome
    reason: str
    n: int
    candidate: float | None = None
    baseline: float | None = None
    estimate: float | None = None
    interval: Interval | None = None
    family_interval: Interval | None = None
    p: float | None = None

    @property
    def told(self) -> Interval | None:
        """The interval that ``reason`` goes by: of the level of a fail where that one lies wholly
        beyond the bound."""
        if self.family_interval is None:
            return None
        (condition,) = parse_gate(self.condition).conditions
        beyond = _decided(condition, self.family_interval)[1]
        return self.family_interval if beyond else self.interval


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's answer, why in one sentence, and each condition's."""

    outcome: Outcome
    reason: str
    gate: str
    findings: tuple[Finding, ...]
    alpha: float
    seed: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Sample:
    """What a condition is about, and how to look at it.

    Args:
        candidate, baseline: Values, shape (n,); no baseline where the bound is plain.
        lost: Texts for which the candidate has no value.
    """

    candidate: Floats
    baseline: Floats | None
    lost: int


@dataclass(frozen=True, slots=True)
class _Settings:
    alpha: float
    family: int
    minimum: int
    seed: int
    resamples: int
    rare: bool


def judge(
    gate: Gate,
    candidate: Scores,
    baseline: Scores | None = None,
    *,
    seed: int,
    alpha: float = ALPHA,
    minimum: int = MINIMUM,
    resamples: int = RESAMPLES,
    rare: bool = False,
) -> Verdict:
    """Judge a candidate.

    Args:
        gate: The conditions.
        candidate: The scores to judge.
        baseline: Those of the model that it is compared with, on the same texts.
        seed: Of the resamples; the same seed gives the same verdict.
        alpha: At most this share of candidates that are no worse than allowed fail.
        minimum: Fewer texts than these decide nothing; at least 2.
        resamples: How many to draw.
        rare: To pass, allow for events that so few texts may not have shown.

    Raises:
        GateError: a condition compares with a baseline, and there is none.
    """
    if gate.needs_baseline and baseline is None:
        relative = [one.text for one in gate.conditions if one.against is not Against.VALUE]
        raise GateError(
            f"{' '.join(relative)} compares with a baseline, and none is named",
            fix="name a baseline, or write plain bounds such as coverage>=0.8",
        )
    settings = _Settings(
        alpha, len(gate.conditions), max(2, minimum), seed, resamples, rare
    )  # fmt: skip
    findings = tuple(
        _judge_one(one, _sample(one, candidate, baseline), settings) for one in gate.conditions
    )
    outcome, reason = _summed_up(findings, alpha)
    return Verdict(outcome, reason, gate.text, findings, alpha, seed)


def _sample(condition: Condition, candidate: Scores, baseline: Scores | None) -> _Sample:
    if condition.against is not Against.VALUE:
        assert baseline is not None
        both = pairs(candidate, baseline, condition.metric)
        return _Sample(both.candidate, both.baseline, len(both.lost))
    values = candidate.values(condition.metric)
    answered = dict(zip(candidate.ids, candidate.columns.get("empty", ()), strict=False))
    known = [value for value in values.values() if value is not None]
    # Without a reference, say, a text has no ROUGE; but an answer that is missing or empty
    # must not help by having no value.
    lost = sum(value is None and answered.get(id_) != 0 for id_, value in values.items())
    return _Sample(np.array(known, dtype=np.float64), None, lost)


def _judge_one(condition: Condition, sample: _Sample, settings: _Settings) -> Finding:
    name, n = condition.metric.name, len(sample.candidate)
    if n == 0:
        text = f"{name} has no data, and no data proves nothing"
        return Finding(condition.text, Outcome.INCONCLUSIVE, text, n)
    if n < settings.minimum:
        text = f"{name} has {n} texts, and fewer than {settings.minimum} decide nothing"
        return Finding(condition.text, Outcome.INCONCLUSIVE, text, n)
    aggregate = aggregate_of(condition.metric)
    mine = float(aggregate(sample.candidate))
    theirs = None if sample.baseline is None else float(aggregate(sample.baseline))
    found = _bootstrap(condition, sample, settings)
    if found is None:
        text = f"{name} of the baseline is 0 or nearly so, and there is no ratio to 0"
        return Finding(condition.text, Outcome.INCONCLUSIVE, text, n, mine, theirs)
    interval_at = found.bca if condition.metric.quantile is None else found.percentile
    interval = interval_at(1 - settings.alpha)
    if settings.rare and is_counted(condition):
        interval = _with_rare(condition, sample, interval)
    strict = interval_at(1 - settings.alpha / settings.family)
    p = _confirming_p(condition, sample, settings)
    within, beyond = _decided(condition, interval)[0], _decided(condition, strict)[1]
    if beyond and p <= settings.alpha / settings.family:
        outcome, shown = Outcome.FAIL, strict
    elif within and not sample.lost:
        outcome, shown = Outcome.PASS, interval
    else:
        outcome, shown = Outcome.INCONCLUSIVE, strict if beyond else interval
    reason = _sentence(condition, outcome, found.estimate, shown, (mine, theirs), n)
    if within and sample.lost:
        reason += f", but {sample.lost} more have no value from the candidate"
    return Finding(
        condition.text, outcome, reason, n, mine, theirs, found.estimate, interval, strict, p
    )


def is_counted(condition: Condition) -> bool:
    """Whether it is about how often something happens that should not."""
    if condition.against is Against.RATIO:
        return False
    return condition.metric.column in (PASSED if condition.at_least else COUNTED)


def room(condition: Condition) -> float:
    """In which share of all texts a candidate that shows nothing else may be worse, by a bound on
    what is counted."""
    if not condition.at_least:
        return condition.bound
    return (1.0 if condition.against is Against.VALUE else 0.0) - condition.bound


def _with_rare(condition: Condition, sample: _Sample, interval: Interval) -> Interval:
    """An interval that allows for events which so few texts may not have shown."""
    best = 1.0 if condition.at_least else 0.0
    better = sample.candidate - (best if sample.baseline is None else sample.baseline)
    better = better if condition.at_least else -better
    worse = -better[better < 0]
    n = len(better)
    share = most_likely_share(len(worse), n, (1 - interval.level) / 2)
    most = share * max(1.0, float(worse.max(initial=0.0)))
    if condition.at_least:
        seen = best if sample.baseline is None else float(better[better > 0].sum()) / n
        return replace(interval, low=min(interval.low, seen - most))
    return replace(interval, high=max(interval.high, most))


def _bootstrap(condition: Condition, sample: _Sample, settings: _Settings) -> Bootstrap | None:
    """The estimate that the bound is about; None for a ratio to what may be 0."""
    aggregate, n = aggregate_of(condition.metric), len(sample.candidate)
    if sample.baseline is None:
        statistic = of_sample(sample.candidate, aggregate)
    elif condition.against is Against.DIFFERENCE:
        statistic = of_pairs(sample.candidate, sample.baseline, aggregate)
    else:
        below = Bootstrap.of(
            of_sample(sample.baseline, aggregate),
            n, seed=settings.seed, resamples=settings.resamples,
        )  # fmt: skip
        if min(below.resampled.min(), below.jackknife.min()) <= 0:
            return None
        statistic = of_pairs(sample.candidate, sample.baseline, aggregate, np.divide)
    return Bootstrap.of(statistic, n, seed=settings.seed, resamples=settings.resamples)


def _decided(condition: Condition, interval: Interval) -> tuple[bool, bool]:
    """Whether an interval lies wholly within the bound, and whether wholly beyond."""
    slack = ROUNDING * max(1.0, abs(condition.bound))
    if condition.at_least:
        return interval.low >= condition.bound - slack, interval.high < condition.bound - slack
    return interval.high <= condition.bound + slack, interval.low > condition.bound + slack


def _confirming_p(condition: Condition, sample: _Sample, settings: _Settings) -> float:
    """How probable so large a distance from the bound is, if the truth lay on the bound."""
    aggregate, mine = aggregate_of(condition.metric), sample.candidate
    exchange: Callable[[Floats], float] = lambda on_bound: exchange_p(  # noqa: E731
        mine, on_bound, aggregate, seed=settings.seed, resamples=settings.resamples
    )
    if sample.baseline is not None:
        shifted = condition.against is Against.DIFFERENCE
        other = sample.baseline
        return exchange(other + condition.bound if shifted else other * condition.bound)
    q = condition.metric.quantile
    if q is None:
        return exchange(2 * condition.bound - mine)  # each value mirrored at the bound
    above = int(np.sum(mine > condition.bound))
    return min(1.0, 2 * binomial_tail(above, len(mine), 1 - q))


def _sentence(
    condition: Condition,
    outcome: Outcome,
    estimate: float,
    interval: Interval,
    values: tuple[float, float | None],
    n: int,
) -> str:
    mine, theirs = values
    form = {Against.RATIO: "{:.3f}x", Against.DIFFERENCE: "{:+.4f}", Against.VALUE: "{:.4f}"}
    shown = form[condition.against].format
    text = f"{condition.metric.name} is {mine:.4f}"
    if theirs is not None:
        kind = "a ratio" if condition.against is Against.RATIO else "a change"
        text += f" against {theirs:.4f}, {kind} of {shown(estimate)}"
    side = "at least" if condition.at_least else "at most"
    place = {
        Outcome.PASS: "wholly within",
        Outcome.FAIL: "wholly beyond",
        Outcome.INCONCLUSIVE: "not decided by these texts for",
    }[outcome]
    return (
        f"{text} ({100 * interval.level:.4g} % interval {shown(interval.low)} to "
        f"{shown(interval.high)}, {n} texts), {place} the bound of {side} {shown(condition.bound)}"
    )


def _summed_up(findings: tuple[Finding, ...], alpha: float) -> tuple[Outcome, str]:
    for outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE):
        found = [one for one in findings if one.outcome is outcome]
        if found:
            more = f"; the same for {len(found) - 1} more" if len(found) > 1 else ""
            return outcome, f"{outcome}: {found[0].reason}{more}"
    held = "; ".join(one.reason for one in findings)
    return Outcome.PASS, f"{Outcome.PASS}: with {1 - alpha:.0%} confidence {held}"
