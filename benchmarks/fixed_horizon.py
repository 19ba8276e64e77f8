"""Tests that are looked at once, after a number of answers that was planned beforehand: what a gate
that may be looked at all the time is held against. Normal approximations, one-sided, against a
margin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

_NORMAL = NormalDist()


@dataclass(frozen=True)
class Difference:
    """A difference whose mean is known to have a standard error of ``sd / sqrt(n)``.

    Args:
        mean, sd: of one of the candidate's answers beside the other's, as things are.
        margin: up to which that is allowed.
        sd_allowed: that the test takes it for: the same where it estimates it (Wald's test).
    """

    mean: float
    sd: float
    margin: float
    sd_allowed: float

    def needed(self, level: float, power: float) -> int | None:
        """Answers of the candidate until it fails with such a probability; None for never."""
        beyond = self.mean - self.margin
        if beyond <= 0:
            return None
        z, more = _NORMAL.inv_cdf(1 - level), _NORMAL.inv_cdf(power)
        return math.ceil(((z * self.sd_allowed + more * self.sd) / beyond) ** 2)

    def power(self, level: float, n: int) -> float:
        """The probability with which it fails after n answers."""
        z, beyond = _NORMAL.inv_cdf(1 - level), (self.mean - self.margin) * math.sqrt(n)
        return _NORMAL.cdf((beyond - z * self.sd_allowed) / self.sd)


def of_shares(base: float, more: float, margin: float, others: float) -> Difference:
    """Two shares of errors.

    Args:
        others: answers of the base to each of the candidate's.
    """

    def sd(share: float) -> float:
        return math.sqrt(share * (1 - share) + base * (1 - base) / others)

    return Difference(more, sd(base + more), margin, sd(base + more))


def of_slow(slower: float, ratio: float, spread: float, quantile: float) -> Difference:
    """The share of log-normal answers above a limit that is known beforehand."""
    allowed = 1 - quantile
    where = _NORMAL.inv_cdf(quantile) + math.log(ratio / slower) / spread
    share = 1 - _NORMAL.cdf(where)
    return Difference(
        share, math.sqrt(share * (1 - share)), allowed, math.sqrt(allowed * quantile)
    )  # fmt: skip


def of_pairs(base: float, more: float, margin: float) -> Difference:
    """Whether either of two answers to the same text is so; each drawn by itself."""

    def sd(share: float) -> float:
        return math.sqrt(share * (1 - share) + base * (1 - base))

    return Difference(more, sd(base + more), margin, sd(base + more))


def by_ranks(
    slower: float, ratio: float, spread: float, level: float, power: float, share: float
) -> int | None:  # fmt: skip
    """Answers of the candidate for Mann-Whitney's test of seconds / ratio (Noether 1987).

    Args:
        share: of all answers, that are the candidate's.
    """
    if slower <= ratio:
        return None
    later = _NORMAL.cdf(math.log(slower / ratio) / (spread * math.sqrt(2)))
    z = _NORMAL.inv_cdf(1 - level) + _NORMAL.inv_cdf(power)
    total = z**2 / (12 * share * (1 - share) * (later - 0.5) ** 2)
    return math.ceil(total * share)


def peeking(
    base: float, margin: float, others: int, level: float, *, looks: int, between: int, runs: int,
    seed: int,
) -> float:  # fmt: skip
    """The share of candidates exactly as bad as allowed that fail, if the test of two shares is
    looked at after every so many of their answers, and believed at the first that fails.

    Args:
        others: answers of the base to each of the candidate's.
        between: answers of the candidate between two looks.
    """
    z = _NORMAL.inv_cdf(1 - level)
    chance = np.random.default_rng(seed)
    n = between * np.arange(1, looks + 1)
    mine = chance.binomial(between, base + margin, (runs, looks)).cumsum(axis=1) / n
    theirs = chance.binomial(between * others, base, (runs, looks)).cumsum(axis=1) / (n * others)
    error = np.sqrt(mine * (1 - mine) / n + theirs * (1 - theirs) / (n * others))
    return float(((mine - theirs - margin) > z * error).any(axis=1).mean())
