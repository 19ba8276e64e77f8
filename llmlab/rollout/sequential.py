"""Tests of a mean that may be looked at after every observation: betting e-processes.

Somebody who believes that the mean lies beyond a bound bets on each observation, before it is
known, at odds that are fair if the mean is *on* the bound. If it is not beyond, no way of
betting makes their wealth grow: the wealth is a nonnegative supermartingale, so that, over all
time and however often one looks, it reaches 1/alpha with a probability of at most alpha
(Ville 1939; Waudby-Smith & Ramdas 2023, "Estimating means of bounded random variables by
betting", section 4). It takes no independence: what is known of an observation beforehand only
has to leave its mean within the bound.

How much to bet is not known, so the wealth is spread over several stakes, and each part goes
on for itself; the average of supermartingales is one. Nor is it known when something changes: who
has bet against a hundred good observations has lost what would tell of the next hundred bad ones.
So some of the wealth is kept back, and a part of it is put on a change from each of several
moments on (a mixture over the time of the change, as in Shin, Ramdas & Rinaldo 2023,
"E-detectors"; with weights that sum to 1 it stays a supermartingale).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

# Shares of the largest stake that cannot lose everything in one observation. The small ones
# find small differences in many observations, the large ones large ones in few.
STAKES = (0.01, 0.03, 0.06, 0.12, 0.2, 0.3, 0.45, 0.6, 0.75, 0.9, 0.97)


@dataclass
class Wealth:
    """The wealth of one who bets that gains are, on average, above 0.

    Args:
        starts: how often some of it was put on a change. 0: all of it is in the game from the
            first observation on, and nothing is kept back.
        kept: the part that is not in the game.
        logs: the logarithm of the rest, for each stake as if it were all on that one.
        n: observations so far.
    """

    starts: int = 0
    kept: float = 0.0
    logs: list[float] = field(default_factory=lambda: [0.0] * len(STAKES))
    n: int = 0

    @classmethod
    def watching(cls) -> Wealth:
        """One that keeps half of itself for changes to come."""
        return cls(1, 0.5, [math.log(0.5)] * len(STAKES))

    def bet(self, gain: float, at_worst: float) -> None:
        """Take one more observation.

        Args:
            gain: what is above 0 on average if, and only if, the bet is right.
            at_worst: above 0; what a gain can be below 0 at most. Known before the observation.
        """
        self.logs = [
            log + more for log, more in zip(self.logs, _growth(gain / at_worst), strict=True)
        ]
        self.n += 1

    def watch_from_now(self) -> None:
        """Put a part of what is kept back on a change that begins now: of the whole wealth that
        there was at first 1/6, 1/12, 1/20 and so on, so that it lasts for ever."""
        if not self.starts:
            return
        part = 1 / ((self.starts + 1) * (self.starts + 2))
        self.starts += 1
        self.kept -= part
        self.logs = [_plus(log, math.log(part)) for log in self.logs]

    @property
    def log(self) -> float:
        """The logarithm of the wealth; it begins with 0."""
        return _log(tuple(self.logs), self.kept)

    @property
    def value(self) -> float:
        """The wealth; it begins with 1. So large that it has no name, it is 1e300."""
        return math.exp(min(self.log, 690.0))

    def reached(self, alpha: float) -> bool:
        """Whether that gains are 0 on average, or below, is refuted at level ``alpha``."""
        return self.log >= -math.log(alpha)


# Most gains are one of a few, and every wealth is looked at several times before it changes.
@lru_cache(maxsize=4096)
def _growth(share: float) -> tuple[float, ...]:
    return tuple([math.log1p(stake * share) for stake in STAKES])


@lru_cache(maxsize=256)
def _log(logs: tuple[float, ...], kept: float) -> float:
    most = max(logs)
    game = most + math.log(sum([math.exp(one - most) for one in logs]) / len(logs))
    return _plus(game, math.log(kept)) if kept > 0 else game


def _plus(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    return max(a, b) + math.log1p(math.exp(-abs(a - b)))


def upper_bound(successes: float, n: float, z: float = 1.96) -> float:
    """Wilson's upper confidence bound of a share; 1 without observations."""
    if n == 0:
        return 1.0
    p, square = successes / n, z * z / n
    center, spread = p + square / 2, z * math.sqrt(p * (1 - p) / n + square / (4 * n))
    return min(1.0, (center + spread) / (1 + square))


def lower_bound(successes: float, n: float, z: float = 1.96) -> float:
    """Wilson's lower confidence bound of a share; 0 without observations."""
    return 1 - upper_bound(n - successes, n, z)
