"""How sure a number is: bootstrap intervals, permutation tests, effect size, Holm.

Everything random takes a seed; the same seed gives the same numbers, those of
``scipy.stats.bootstrap`` and ``scipy.stats.permutation_test`` where these draw the same samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 9999  # scipy's default; (9999 + 1) makes even p values
LEVEL = 0.95
CELLS = 4_000_000  # of an index matrix in memory at a time: 32 MB

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
# From indices of shape (resamples, n) to one number for each resample, (resamples,).
Statistic = Callable[[Indices], Floats]
# From values of shape (resamples, n) to (resamples,).
Aggregate = Callable[[Floats], Floats]

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided confidence interval, both ends included."""

    low: float
    high: float
    level: float


def mean(values: Floats) -> Floats:
    result: Floats = values.mean(axis=-1)
    return result


def quantile(q: float) -> Aggregate:
    """The q-quantile, interpolated linearly between neighbours."""

    def of(values: Floats) -> Floats:
        result: Floats = np.quantile(values, q, axis=-1)
        return result

    return of


def of_sample(values: Floats, aggregate: Aggregate = mean) -> Statistic:
    """A statistic of one sample, shape (n,)."""
    return lambda indices: aggregate(values[indices])


def of_pairs(
    a: Floats,
    b: Floats,
    aggregate: Aggregate = mean,
    compare: Callable[[Floats, Floats], Floats] = np.subtract,
) -> Statistic:
    """A statistic of paired samples, both of shape (n,): by default the mean difference."""
    return lambda indices: compare(aggregate(a[indices]), aggregate(b[indices]))


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """A statistic and how it scatters if the texts are drawn again, with replacement.

    Args:
        estimate: Of the sample itself.
        resampled: Of each resample, shape (resamples,).
        jackknife: Of the sample without each of its n members in turn, shape (n,).
    """

    estimate: float
    resampled: Floats
    jackknife: Floats

    @classmethod
    def of(
        cls, statistic: Statistic, n: int, *, seed: int, resamples: int = RESAMPLES
    ) -> Bootstrap:
        """Draw the resamples of a sample of ``n`` >= 2."""
        rng = np.random.default_rng(seed)
        drawn = (rng.integers(0, n, (rows, n)) for rows in _chunks(resamples, n))
        left_out = (_all_but(np.arange(at, at + rows), n) for at, rows in _starts(n, n))
        return cls(
            float(statistic(np.arange(n)[None, :])[0]),
            np.concatenate([statistic(indices) for indices in drawn]),
            np.concatenate([statistic(indices) for indices in left_out]),
        )

    def percentile(self, level: float = LEVEL) -> Interval:
        """The middle ``level`` of the resamples."""
        return self._between((1 - level) / 2, (1 + level) / 2, level)

    def bca(self, level: float = LEVEL) -> Interval:
        """Bias-corrected and accelerated (Efron 1987; Efron & Tibshirani 1993, 14.3).

        If all resamples give the same number, that number is the interval. A statistic that
        lies beyond all resamples is treated as beyond all but half a one.
        """
        below = float(np.mean(self.resampled < self.estimate))
        below = (below + float(np.mean(self.resampled <= self.estimate))) / 2
        half = 0.5 / len(self.resampled)
        bias = _NORMAL.inv_cdf(min(max(below, half), 1 - half))
        influence = self.jackknife.mean() - self.jackknife
        spread = float(np.sum(influence**2))
        skew = float(np.sum(influence**3)) / (6 * spread**1.5) if spread else 0.0
        z = _NORMAL.inv_cdf((1 + level) / 2)
        return self._between(_adjusted(bias, skew, -z), _adjusted(bias, skew, z), level)

    def _between(self, low: float, high: float, level: float) -> Interval:
        ends = np.quantile(self.resampled, [low, high])
        return Interval(float(ends[0]), float(ends[1]), level)


def _adjusted(bias: float, skew: float, z: float) -> float:
    """The share of the resamples below BCa's end; extreme skew makes it all or none."""
    room = 1 - skew * (bias + z)
    if room <= 0:
        return 1.0 if z > 0 else 0.0
    return _NORMAL.cdf(bias + (bias + z) / room)


def exchange_p(
    a: Floats,
    b: Floats,
    aggregate: Aggregate = mean,
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> float:
    """The two-sided permutation p of paired samples, for aggregate(a) - aggregate(b).

    If a and b differed only by chance, each pair might as well be the other way round. All
    2^n ways are tried if they are no more than ``resamples`` (n <= 13); else that many are
    drawn and p is (k + 1) / (resamples + 1) (Phipson & Smyth 2010), hence never 0.
    """
    n = len(a)
    observed = abs(float(aggregate(a[None, :])[0] - aggregate(b[None, :])[0]))
    # Rounding must not make an equal difference a smaller one.
    limit = observed - 1e-12 * max(observed, float(np.abs([a, b]).max(initial=0.0)), 1e-300)
    exact = 2**n <= resamples
    reached = 0
    for swapped in _all_swaps(n) if exact else _drawn_swaps(n, resamples, seed):
        one, other = np.where(swapped, b, a), np.where(swapped, a, b)
        reached += int(np.sum(np.abs(aggregate(one) - aggregate(other)) >= limit))
    return reached / 2**n if exact else (reached + 1) / (resamples + 1)


def _all_swaps(n: int) -> Iterator[NDArray[np.bool_]]:
    yield (np.arange(2**n)[:, None] >> np.arange(n)) % 2 == 1


def _drawn_swaps(n: int, resamples: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    for rows in _chunks(resamples, n):
        yield rng.integers(0, 2, (rows, n)) == 1


def binomial_tail(hits: int, n: int, p: float) -> float:
    """The probability of ``hits`` or more among ``n`` of probability ``p`` each."""
    if not 0 < p < 1:
        return 1.0 if p >= 1 or hits <= 0 else 0.0
    logs = (
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        + k * math.log(p) + (n - k) * math.log1p(-p)
        for k in range(max(hits, 0), n + 1)
    )  # fmt: skip
    return min(1.0, math.fsum(math.exp(log) for log in logs))


def most_likely_share(hits: int, n: int, tail: float) -> float:
    """The exact upper bound of a share (Clopper & Pearson 1934): for a larger one, ``hits`` or
    fewer among ``n`` have a probability below ``tail``."""
    if hits >= n:
        return 1.0
    low, high = hits / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        fewer = 1 - binomial_tail(hits + 1, n, middle)
        low, high = (middle, high) if fewer > tail else (low, middle)
    return high


def wilson(hits: float, n: int, level: float = LEVEL) -> Interval:
    """The score interval of a share (Wilson 1927), which is never 0 wide, as a bootstrap of equal
    values is.

    Args:
        hits: among ``n`` >= 1; a half is half a hit, which makes the interval too wide, not too
            narrow.
    """
    z = _NORMAL.inv_cdf((1 + level) / 2)
    share, room = hits / n, z * z / n
    center = (share + room / 2) / (1 + room)
    half = z * math.sqrt(share * (1 - share) / n + room / (4 * n)) / (1 + room)
    return Interval(max(0.0, center - half), min(1.0, center + half), level)


def difference_of_shares(first: float, second: float, n: int, level: float = LEVEL) -> Interval:
    """Of two shares of the same ``n``, of which each is at most one: first less second.

    By their ``wilson`` intervals, squared and added, with the correlation that such shares have
    (Newcombe 1998; Zou & Donner 2008).
    """
    a, b = first / n, second / n
    low_a, high_a = _ends(wilson(first, n, level))
    low_b, high_b = _ends(wilson(second, n, level))
    others = (1 - a) * (1 - b)
    together = -math.sqrt(a * b / others) if others else -1.0
    together = max(-1.0, together)
    down = _added(a - low_a, high_b - b, together)
    up = _added(high_a - a, b - low_b, together)
    return Interval(max(-1.0, a - b - down), min(1.0, a - b + up), level)


def difference_of_samples(
    first: tuple[float, int], second: tuple[float, int], level: float = LEVEL
) -> Interval:
    """Of shares of two samples that have nothing to do with each other: first less second.

    By their ``wilson`` intervals, squared and added (Newcombe 1998).

    Args:
        first, second: (the share, of how many), which is 1 at least.
    """
    (a, n), (b, m) = first, second
    low_a, high_a = _ends(wilson(a * n, n, level))
    low_b, high_b = _ends(wilson(b * m, m, level))
    down, up = _added(a - low_a, high_b - b, 0.0), _added(high_a - a, b - low_b, 0.0)
    return Interval(max(-1.0, a - b - down), min(1.0, a - b + up), level)


def _ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def _added(one: float, other: float, together: float) -> float:
    return math.sqrt(max(0.0, one * one + other * other - 2 * together * one * other))


def effect_size(differences: Floats) -> float | None:
    """Cohen's d_z: the mean difference in standard deviations of the differences.

    0 if there is no difference at all; None if all differences are the same other number,
    for then it is infinite. As a rule of thumb 0.2 is small, 0.5 medium, 0.8 large.
    """
    center = float(differences.mean())
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    if spread <= 1e-12 * abs(center):
        return None if center else 0.0
    return center / spread


def holm(p_values: Sequence[float]) -> list[float]:
    """p values for a family of tests (Holm 1979): below alpha there, at most a share alpha of
    families with no true difference has any. In the order given."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = largest
    return adjusted


def _chunks(rows: int, columns: int) -> Iterator[int]:
    for _, size in _starts(rows, columns):
        yield size


def _starts(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    step = max(1, CELLS // max(columns, 1))
    for start in range(0, rows, step):
        yield start, min(step, rows - start)


def _all_but(left_out: Indices, n: int) -> Indices:
    """Indices of the sample without one, a row for each that is left out."""
    columns = np.arange(n - 1)[None, :]
    result: Indices = columns + (columns >= left_out[:, None])
    return result
