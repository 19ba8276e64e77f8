"""From requests to figures. Nothing in here measures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.load import Result, Shot
from benchmarks.usage import Usage

MEGABYTE = 2**20


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that at least so many percent of them do not exceed."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("a percentile of nothing")
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def texts_between(shots: Iterable[Shot], begin: float, until: float) -> float:
    """How many texts were done in that time. A text that was only partly within it counts for
    that part: so the figure does not depend on whether a batch ended just before or after."""
    return sum(
        max(0.0, min(shot.end, until) - max(shot.start, begin)) / (shot.end - shot.start)
        for shot in shots
        if shot.status == 200
    )


@dataclass(frozen=True)
class Visit:
    """One measurement of one system. Latencies and ``seconds`` in seconds, memory in MB."""

    texts: float
    seconds: float
    latencies: tuple[float, ...]
    cpu: float
    memory: float
    failed: int

    @classmethod
    def of(cls, result: Result, usage: Usage) -> Visit:
        begin, until = result.begin, result.until
        answered = [shot for shot in result.shots if shot.status == 200]
        # Where a batch takes longer than it was to be measured, none may end within.
        within = [one for one in answered if begin < one.end <= until] or answered
        return cls(
            texts=texts_between(result.shots, begin, until),
            seconds=until - begin,
            latencies=tuple(shot.end - shot.start for shot in within),
            cpu=usage.cpu_between(begin, until),
            memory=max(usage.resident) / MEGABYTE,
            failed=sum(shot.status != 200 for shot in result.shots),
        )

    @property
    def rate(self) -> float:
        """Texts/s."""
        return self.texts / self.seconds


@dataclass(frozen=True)
class Cell:
    """All visits of one system with one decoding and concurrency, together."""

    rate: float
    slowest: float
    fastest: float
    p50: float
    p95: float
    cpu: float
    memory: float
    answered: int
    failed: int

    @classmethod
    def of(cls, visits: Sequence[Visit]) -> Cell:
        texts = sum(visit.texts for visit in visits)
        latencies = [one for visit in visits for one in visit.latencies]
        return cls(
            rate=texts / sum(visit.seconds for visit in visits),
            slowest=min(visit.rate for visit in visits),
            fastest=max(visit.rate for visit in visits),
            p50=percentile(latencies, 50),
            p95=percentile(latencies, 95),
            cpu=sum(visit.cpu for visit in visits) / texts,
            memory=max(visit.memory for visit in visits),
            answered=len(latencies),
            failed=sum(visit.failed for visit in visits),
        )
