"""Latencies of any number of requests in a bounded space: quantiles with a bounded error."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

from llmlab.service.metrics import SECONDS

# A quantile is off by 2 % at most. DDSketch: Masson, Rim, Lee, VLDB 2019,
# https://doi.org/10.14778/3352063.3352135
ERROR = 0.02
GROWTH = (1 + ERROR) / (1 - ERROR)
LEAST = 0.001  # seconds; NGINX tells no less


class Latencies:
    """Two histograms: one in the buckets of the APIs' own metrics, and a finer one, whose
    buckets grow by a constant factor."""

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0
        self._coarse = [0] * (len(SECONDS) + 1)
        self._fine: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        self.count += 1
        self.sum += seconds
        self._coarse[bisect_left(SECONDS, seconds)] += 1
        self._fine[math.ceil(math.log(max(seconds, LEAST), GROWTH))] += 1

    @classmethod
    def together(cls, parts: Iterable[Latencies]) -> Latencies:
        whole = cls()
        for one in parts:
            whole.count += one.count
            whole.sum += one.sum
            whole._coarse = [a + b for a, b in zip(whole._coarse, one._coarse, strict=True)]
            whole._fine.update(one._fine)
        return whole

    def quantile(self, share: float) -> float:
        """Seconds that so many of the requests (0 to 1) did not exceed; nan of none."""
        rank = max(1, math.ceil(share * self.count))
        for bucket in sorted(self._fine):
            rank -= self._fine[bucket]
            if rank <= 0:
                return float(2 * GROWTH**bucket / (1 + GROWTH))
        return math.nan

    def buckets(self) -> tuple[tuple[float, int], ...]:
        """(upper bound in seconds, requests up to it), as Prometheus counts them."""
        counted, total = [], 0
        for bound, count in zip((*SECONDS, math.inf), self._coarse, strict=True):
            total += count
            counted.append((float(bound), total))
        return tuple(counted)
