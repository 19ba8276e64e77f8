"""From requests to figures: throughput, latencies, what became of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from llmlab.probe.load import NO_ANSWER, Run, Shot

PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class Latency:
    """Seconds. ``nan`` where nothing was measured."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        ordered = sorted(seconds)
        if not ordered:
            return cls(*[math.nan] * 6)
        p50, p90, p95, p99 = (_percentile(ordered, one) for one in PERCENTILES)
        return cls(sum(ordered) / len(ordered), p50, p90, p95, p99, ordered[-1])


@dataclass(frozen=True)
class Figures:
    """A run in numbers. Rates per second; times in seconds; shares from 0 to 1.

    ``latency`` is of the requests that were answered with a summary, ``refusal`` of those
    that were turned away (429, 503).
    """

    requests: int
    seconds: float
    requests_per_second: float
    texts_per_second: float
    tokens_in_per_second: float
    tokens_out_per_second: float
    statuses: dict[str, int]
    failed: float
    cached: int
    retried: int
    missed: int
    refused_without_retry_after: int
    latency: Latency
    refusal: Latency
    queue: Latency
    compute: Latency

    @classmethod
    def of(cls, run: Run) -> Figures:
        shots, seconds = run.shots, run.seconds
        ok = [shot for shot in shots if shot.ok]
        refused = [shot for shot in shots if shot.status in (429, 503)]
        made = [shot for shot in ok if not shot.cached]
        return cls(
            requests=len(shots),
            seconds=seconds,
            requests_per_second=len(shots) / seconds,
            texts_per_second=len(ok) / seconds,
            tokens_in_per_second=sum(shot.tokens_in for shot in ok) / seconds,
            tokens_out_per_second=sum(shot.tokens_out for shot in ok) / seconds,
            statuses=_statuses(shots),
            failed=1 - len(ok) / len(shots) if shots else math.nan,
            cached=len(ok) - len(made),
            retried=sum(shot.tries > 1 for shot in shots),
            missed=run.missed,
            refused_without_retry_after=sum(not shot.retry_after for shot in refused),
            latency=Latency.of([shot.latency for shot in ok]),
            refusal=Latency.of([shot.latency for shot in refused]),
            queue=Latency.of([shot.queue for shot in made]),
            compute=Latency.of([shot.latency - shot.queue for shot in made]),
        )

    def as_json(self) -> dict[str, Any]:
        """JSON has no NaN: what was not measured is null."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _statuses(shots: Sequence[Shot]) -> dict[str, int]:
    counted = Counter(shot.status for shot in shots)
    return {
        "no answer" if status == NO_ANSWER else str(status): count
        for status, count in sorted(counted.items())
    }


def _percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent do not exceed (nearest rank)."""
    rank = math.ceil(percent / 100 * len(ordered))
    return ordered[max(0, rank - 1)]
