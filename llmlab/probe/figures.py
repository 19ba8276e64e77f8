"""From requests to figures: throughput, latencies, what became of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from llmlab.probe.load import Run
from llmlab.probe.shots import BROKEN_OFF, NO_ANSWER, NO_SUMMARY, Shot

PERCENTILES = (50, 90, 95, 99)
NAMES = {NO_ANSWER: "no answer", NO_SUMMARY: "no summary", BROKEN_OFF: "broken off"}


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
        p50, p90, p95, p99 = (percentile(ordered, one) for one in PERCENTILES)
        return cls(sum(ordered) / len(ordered), p50, p90, p95, p99, ordered[-1])


@dataclass(frozen=True)
class Refusals:
    """Answers 429 and 503, those that were followed by another try included.

    ``by_gateway`` turned away at the gateway, mostly by its rate limit, ``by_api`` by a model
    with a full queue or none loaded; ``without_retry_after`` did not say when to come back.
    """

    by_gateway: int
    by_api: int
    without_retry_after: int


@dataclass(frozen=True)
class Asked:
    """What one deployment made of its requests. ``failed`` is a share; see ``Figures``."""

    requests: int
    failed: float
    latency: Latency

    @classmethod
    def of(cls, shots: Sequence[Shot]) -> Asked:
        ok = [shot for shot in shots if shot.ok]
        latency = Latency.of([shot.latency for shot in ok])
        return cls(len(shots), _share(len(shots) - len(ok), shots), latency)


@dataclass(frozen=True)
class Rates:
    """Tokens a second, of one stream each; one in twenty has ``slowest_5`` or less. ``nan`` where
    nothing was measured."""

    mean: float
    p50: float
    slowest_5: float

    @classmethod
    def of(cls, rates: Sequence[float]) -> Rates:
        ordered = sorted(rates)
        if not ordered:
            return cls(*[math.nan] * 3)
        mean = sum(ordered) / len(ordered)
        return cls(mean, percentile(ordered, 50), percentile(ordered, 5))


@dataclass(frozen=True)
class Streams:
    """Of a chat, what came when, of the answers that came to their end.

    ``first_token`` is counted from the time at which a request should have been sent, ``gaps``
    are between two pieces of a stream, of all streams together, each a token as a rule. ``rate``
    is that of a stream after its first token; ``cut_off`` the share of answers that ended at the
    most tokens that they were allowed.
    """

    first_token: Latency
    gaps: Latency
    rate: Rates
    cut_off: float

    @classmethod
    def of(cls, ok: Sequence[Shot]) -> Streams:
        return cls(
            first_token=Latency.of([shot.first for shot in ok if shot.first is not None]),
            gaps=Latency.of([gap for shot in ok for gap in shot.gaps]),
            rate=Rates.of([
                (shot.tokens_out - 1) / shot.writing
                for shot in ok if shot.writing > 0 and shot.tokens_out > 1
            ]),
            cut_off=_share(sum(shot.cut_off for shot in ok), ok),
        )  # fmt: skip


@dataclass(frozen=True)
class Figures:
    """A run in numbers. Rates per second; times in seconds; shares from 0 to 1.

    ``latency`` is of the requests that were answered with a summary, ``refusal`` of those
    that were turned away (429, 503) in the end. ``queue`` and ``compute`` divide the last try
    of those whose summary was made for them, and not taken from a cache; the way through the
    gateway counts as ``compute``. ``deployments`` has those that were asked, by their names; what
    the gateway answered itself is none's. ``late`` is how long requests were sent after their time.
    ``streams`` is of a chat only; there an answer takes a summary's place.
    """

    requests: int
    seconds: float
    requests_per_second: float
    texts_per_second: float
    tokens_in_per_second: float
    tokens_out_per_second: float
    statuses: dict[str, int]
    models: dict[str, int]
    deployments: dict[str, Asked]
    failed: float
    cached: float
    retried: int
    missed: int
    refusals: Refusals
    latency: Latency
    refusal: Latency
    queue: Latency
    compute: Latency
    late: Latency
    streams: Streams | None = None

    @classmethod
    def of(cls, run: Run) -> Figures:
        shots, seconds = run.shots, run.seconds
        ok = [shot for shot in shots if shot.ok]
        waits = [(shot.queue, shot.took) for shot in ok if not shot.cached]
        told = [(queue, took - queue) for queue, took in waits if queue is not None]
        return cls(
            requests=len(shots),
            seconds=seconds,
            requests_per_second=len(shots) / seconds,
            texts_per_second=len(ok) / seconds,
            tokens_in_per_second=sum(shot.tokens_in for shot in ok) / seconds,
            tokens_out_per_second=sum(shot.tokens_out for shot in ok) / seconds,
            statuses=_statuses(shots),
            models=dict(Counter(shot.model for shot in ok).most_common()),
            deployments={
                name: Asked.of([shot for shot in shots if shot.deployment == name])
                for name in sorted({shot.deployment for shot in shots} - {""})
            },
            failed=_share(len(shots) - len(ok), shots),
            cached=_share(sum(shot.cached for shot in ok), ok),
            retried=sum(shot.tries > 1 for shot in shots),
            missed=run.missed,
            refusals=Refusals(
                run.refusals["gateway"], run.refusals["api"], run.refusals["unexplained"]
            ),
            latency=Latency.of([shot.latency for shot in ok]),
            refusal=Latency.of([shot.latency for shot in shots if shot.refused]),
            queue=Latency.of([queue for queue, _ in told]),
            compute=Latency.of([compute for _, compute in told]),
            late=Latency.of([shot.late for shot in shots]),
            streams=Streams.of(ok) if run.profile.talk else None,
        )

    def as_json(self) -> dict[str, Any]:
        """JSON has no NaN: what was not measured is null."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent do not exceed (nearest rank)."""
    rank = math.ceil(percent / 100 * len(ordered))
    return ordered[max(0, rank - 1)]


def span(seconds: float) -> str:
    """``850 µs``, ``85 ms``, ``1.25 s``."""
    if math.isnan(seconds):
        return "-"
    if seconds >= 0.9995:
        return f"{seconds:.3g} s"
    if seconds >= 0.0009995 or not seconds:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds * 1e6:.0f} µs"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value


def status_name(status: int) -> str:
    """``200``, ``429``, ``no answer``."""
    return NAMES.get(status, str(status))


def _share(part: int, whole: Sequence[Shot]) -> float:
    return part / len(whole) if whole else math.nan


def _statuses(shots: Sequence[Shot]) -> dict[str, int]:
    counted = Counter(shot.status for shot in shots)
    return {
        status_name(status): count
        for status, count in sorted(counted.items(), key=lambda pair: (pair[0] < 200, pair[0]))
    }
