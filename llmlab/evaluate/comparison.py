"""One model's scores on a suite, and two models' scores on the same texts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from llmlab.evaluate.measures import METRICS, Better, Metric, Scores
from llmlab.evaluate.statistics import (
    LEVEL,
    RESAMPLES,
    Aggregate,
    Bootstrap,
    Floats,
    Interval,
    effect_size,
    exchange_p,
    holm,
    mean,
    of_pairs,
    of_sample,
    quantile,
)

SAME = 1e-12  # differences up to this are ties


@dataclass(frozen=True, slots=True)
class Level:
    """A metric of one model.

    Args:
        metric: Its name.
        n: Texts that have a value.
        value: The mean (or quantile) over them; None without any.
        interval: Percentile bootstrap, 95 %; None with fewer than two.
    """

    metric: str
    n: int
    value: float | None
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A metric of two models on the same texts.

    Args:
        metric: Its name.
        n: Texts for which both have a value.
        lost: Texts for which only the baseline has one.
        candidate, baseline: The means (or quantiles) over the n texts.
        difference: Candidate less baseline.
        interval: Of the difference: BCa bootstrap of means, percentile bootstrap of quantiles.
        p: Of the permutation test; ``p_holm`` is corrected for all metrics compared with it.
        effect: Cohen's d_z of the differences; None if infinite, and for quantiles.
        wins, ties, losses: Texts on which the candidate is better, equal, worse; None where
            neither way is better.
    """

    metric: str
    n: int
    lost: int
    candidate: float
    baseline: float
    difference: float
    interval: Interval
    p: float
    p_holm: float
    effect: float | None
    wins: int | None
    ties: int | None
    losses: int | None


@dataclass(frozen=True, slots=True)
class Regression:
    """A text on which the candidate is worse."""

    id: str
    candidate: float
    baseline: float

    @property
    def difference(self) -> float:
        return self.candidate - self.baseline


@dataclass(frozen=True, slots=True)
class Pairs:
    """The values of two models for the texts that have both, shape (n,) each."""

    ids: tuple[str, ...]
    candidate: Floats
    baseline: Floats
    lost: tuple[str, ...]


def pairs(candidate: Scores, baseline: Scores, metric: Metric) -> Pairs:
    """Pair the values of two models by text, in the baseline's order."""
    mine, theirs = candidate.values(metric), baseline.values(metric)
    known = {id_: value for id_, value in theirs.items() if value is not None}
    both = {id_: (mine[id_], value) for id_, value in known.items() if mine.get(id_) is not None}
    a, b = np.array(list(both.values()), dtype=np.float64).reshape(-1, 2).T
    return Pairs(tuple(both), a, b, tuple(id_ for id_ in known if id_ not in both))


def aggregate_of(metric: Metric) -> Aggregate:
    return mean if metric.quantile is None else quantile(metric.quantile)


def levels(scores: Scores, *, seed: int, resamples: int = RESAMPLES) -> list[Level]:
    """Every metric of one model, with its interval."""
    return [_level(scores, metric, seed, resamples) for metric in METRICS.values()]


def _level(scores: Scores, metric: Metric, seed: int, resamples: int) -> Level:
    known = np.array([value for value in scores.values(metric).values() if value is not None])
    n = len(known)
    if n < 2:
        return Level(metric.name, n, float(known[0]) if n else None, None)
    found = Bootstrap.of(of_sample(known, aggregate_of(metric)), n, seed=seed, resamples=resamples)
    return Level(metric.name, n, found.estimate, found.percentile(LEVEL))


def compare(
    candidate: Scores,
    baseline: Scores,
    metrics: Iterable[str] = METRICS,
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> list[Comparison]:
    """Compare two models metric by metric, as far as at least two texts have both values."""
    found = [
        _comparison(METRICS[name], together, seed, resamples)
        for name in metrics
        if len((together := pairs(candidate, baseline, METRICS[name])).ids) >= 2
    ]
    corrected = holm([one.p for one in found])
    return [replace(one, p_holm=p) for one, p in zip(found, corrected, strict=True)]


def _comparison(metric: Metric, both: Pairs, seed: int, resamples: int) -> Comparison:
    a, b, n = both.candidate, both.baseline, len(both.ids)
    aggregate = aggregate_of(metric)
    found = Bootstrap.of(of_pairs(a, b, aggregate), n, seed=seed, resamples=resamples)
    of_means = metric.quantile is None
    better = (a - b) * metric.better.value
    known = metric.better is not Better.NEITHER
    p = exchange_p(a, b, aggregate, seed=seed, resamples=resamples)
    return Comparison(
        metric=metric.name,
        n=n,
        lost=len(both.lost),
        candidate=float(aggregate(a)),
        baseline=float(aggregate(b)),
        difference=found.estimate,
        interval=found.bca() if of_means else found.percentile(),
        p=p,
        p_holm=p,
        effect=effect_size(a - b) if of_means else None,
        wins=int(np.sum(better > SAME)) if known else None,
        ties=int(np.sum(np.abs(better) <= SAME)) if known else None,
        losses=int(np.sum(better < -SAME)) if known else None,
    )


def regressions(candidate: Scores, baseline: Scores, metric: Metric, most: int) -> list[Regression]:
    """The texts on which the candidate is worse, the worst first."""
    both = pairs(candidate, baseline, metric)
    worse = [
        Regression(id_, float(a), float(b))
        for id_, a, b in zip(both.ids, both.candidate, both.baseline, strict=True)
        if (a - b) * metric.better.value < -SAME
    ]
    return sorted(worse, key=lambda one: (-abs(one.difference), one.id))[:most]
