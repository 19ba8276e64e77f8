"""Tests of a mean that may be looked at after every observation: betting e-processes.

Somebody who believes that the mean lies beyond a bound bets on each observation, before it is
known, at odds that are fair if the mean is *on* the bound. If it is not beyond, no way of
betting makes their wealth grow: the wealth is a nonnegative supermartingale, so that, over all
time and however often one looks, it reaches 1/alpha with a probability of at most alpha
(Ville 1939; Waudby-Smith & Ramdas 2023, "Estimating means of bounded random variables by
betting", section 4). It takes no independence: what is known of an observation beforehand only
has to leave its mean within the bound.

How much to bet is not known, so the wealth is spread over several stakes, and each part goes
on for itself; the average of supermartingales is one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

# Shares of the largest stake that cannot lose everything in one observation. The small ones
# find small differences in many observations, the large ones large ones in few.
STAKES = (0.01, 0.03, 0.06, 0.12, 0.2, 0.3, 0.45, 0.6, 0.75, 0.9, 0.97)


@dataclass
class Wealth:
    """The wealth of one who bets that the mean of values in [-1, 1] is beyond a bound.

    Args:
        side: ``above``: refutes "the mean is at most the bound"; ``below``: "at least".
        bound: above -1 and below 1.
        logs: the logarithm of the wealth with each stake.
        n: observations so far.
    """

    side: Literal["above", "below"]
    bound: float
    logs: list[float] = field(default_factory=lambda: [0.0] * len(STAKES))
    n: int = 0

    def bet(self, value: float) -> None:
        """Take one more observation."""
        sign = 1.0 if self.side == "above" else -1.0
        gain = sign * (value - self.bound)  # at least -(1 + sign * bound)
        most = 1.0 / (1.0 + sign * self.bound)
        self.logs = [
            log + math.log1p(stake * most * gain)
            for log, stake in zip(self.logs, STAKES, strict=True)
        ]
        self.n += 1

    @property
    def log(self) -> float:
        """The logarithm of the wealth; it begins with 0."""
        most = max(self.logs)
        return most + math.log(sum(math.exp(one - most) for one in self.logs) / len(self.logs))

    @property
    def value(self) -> float:
        """The wealth; it begins with 1. So large that it has no name, it is 1e300."""
        return math.exp(min(self.log, 690.0))

    def reached(self, alpha: float) -> bool:
        """Whether the claim is refuted at level ``alpha``."""
        return self.log >= -math.log(alpha)


def upper_bound(successes: float, n: int, z: float = 1.96) -> float:
    """Wilson's upper confidence bound of a share; 1 without observations."""
    if n == 0:
        return 1.0
    p, square = successes / n, z * z / n
    center, spread = p + square / 2, z * math.sqrt(p * (1 - p) / n + square / (4 * n))
    return min(1.0, (center + spread) / (1 + square))
