"""The highest rate at which a lab keeps a promise, such as `p95<2s`."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from llmlab.errors import UsageError
from llmlab.probe.figures import Figures

PROMISE = re.compile(r"(p50|p90|p95|p99|max|mean|failed)\s*<\s*([\d.]+)\s*(ms|s|%)")
FIRST_RATE = 1.0
FACTOR = 2.0
PRECISION = 0.1  # the rate is found to so much of itself
MOST_TRIES = 16
# Requests that fail keep no promise on latency, so only few may.
MOST_FAILED = 0.01


@dataclass(frozen=True)
class Promise:
    """``limit`` in seconds, or as a share for ``failed``."""

    measure: str
    limit: float
    text: str

    @classmethod
    def parse(cls, text: str) -> Promise:
        """``p95<2s``, ``max<800ms`` or ``failed<1%``.

        Raises:
            UsageError: it is none of these.
        """
        found = PROMISE.fullmatch(text.strip())
        try:
            measure, limit, unit = found.groups()  # type: ignore[union-attr]
            number = float(limit)
        except (AttributeError, ValueError):
            number, measure, unit = 0.0, "", ""
        if not number or (measure == "failed") != (unit == "%"):
            raise UsageError(
                f"--until {text!r} is no promise", fix="use p95<2s, p99<800ms, max<5s or failed<1%"
            )
        return cls(measure, number * {"ms": 0.001, "s": 1.0, "%": 0.01}[unit], text.strip())

    def kept(self, figures: Figures) -> bool:
        """Whether a run kept it. One that measured nothing, or in which many failed, did not."""
        if self.measure == "failed":
            return figures.failed < self.limit
        value = getattr(figures.latency, self.measure)
        return figures.failed <= MOST_FAILED and value < self.limit and not figures.missed


@dataclass(frozen=True)
class Trial:
    rate: float
    kept: bool
    figures: Figures


@dataclass(frozen=True)
class Found:
    """``best`` is the last trial that kept the promise; None if not even the slowest did."""

    trials: tuple[Trial, ...]
    best: Trial | None
    ended: Literal["found", "never kept", "never broken"]


Measure = Callable[[float], Awaitable[Figures]]


async def highest_rate(promise: Promise, measure: Measure, start: float = FIRST_RATE) -> Found:
    """Double the rate until the promise breaks, then halve the gap.

    Args:
        measure: an open-loop run at so many requests/s.
    """
    trials: list[Trial] = []

    async def kept(rate: float) -> bool:
        figures = await measure(rate)
        trials.append(Trial(rate, promise.kept(figures), figures))
        return trials[-1].kept

    low, high, rate = 0.0, math.inf, start
    while len(trials) < MOST_TRIES:
        if await kept(rate):
            low = rate
        else:
            high = rate
        if high - low <= PRECISION * max(low, start / FACTOR**4):
            break
        rate = rate * FACTOR if high == math.inf else (low + high) / 2
    good = [trial for trial in trials if trial.kept and trial.rate == low]
    ended: Literal["found", "never kept", "never broken"] = "found"
    if not good:
        ended = "never kept"
    elif high == math.inf:
        ended = "never broken"
    return Found(tuple(trials), good[-1] if good else None, ended)
