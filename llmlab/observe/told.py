"""How answers came and ended within a while, as their APIs have told it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from llmlab.answered import Answer
from llmlab.observe.latencies import Latencies


@dataclass(frozen=True)
class Told:
    """Of one deployment, or of all of them.

    Args:
        answers: of which something was told, whole ones and streams.
        first_p50, first_p95, gap_p95: seconds until the first token, and of the longest time
            between two; nan without streams.
        tokens_per_second: of a stream, after its first token, on average; nan likewise.
        cut_off, refused, invalid: percent of those of which it can be said; nan where that is none.
            ``refused`` has only those that say so by a field of theirs.
    """

    answers: int = 0
    first_p50: float = math.nan
    first_p95: float = math.nan
    gap_p95: float = math.nan
    tokens_per_second: float = math.nan
    cut_off: float = math.nan
    refused: float = math.nan
    invalid: float = math.nan


@dataclass
class Share:
    of: int = 0
    hits: int = 0

    def add(self, hit: bool | None) -> None:
        if hit is not None:
            self.of += 1
            self.hits += hit

    @property
    def percent(self) -> float:
        return 100 * self.hits / self.of if self.of else math.nan


@dataclass
class Telling:
    """Sums, as they grow."""

    answers: int = 0
    first: Latencies = field(default_factory=Latencies)
    gap: Latencies = field(default_factory=Latencies)
    tokens: int = 0
    writing: float = 0.0
    cut_off: Share = field(default_factory=Share)
    refused: Share = field(default_factory=Share)
    invalid: Share = field(default_factory=Share)

    def add(self, answer: Answer) -> None:
        self.answers += 1
        if answer.first is not None:
            self.first.add(answer.first)
        if answer.gap is not None:
            self.gap.add(answer.gap)
        if answer.rate and answer.writing:
            self.tokens += answer.tokens - 1
            self.writing += answer.writing
        self.cut_off.add(answer.cut_off)
        self.refused.add(None if answer.refusal is None else answer.refusal == "field")
        self.invalid.add(answer.invalid)


def told(parts: Iterable[Telling]) -> Told | None:
    """All of them together; None where nothing was told."""
    there = [one for one in parts if one.answers]
    if not there:
        return None
    first = Latencies.together(one.first for one in there)
    gap = Latencies.together(one.gap for one in there)
    writing = sum(one.writing for one in there)

    def percent(shares: Iterable[Share]) -> float:
        known = list(shares)
        return Share(sum(one.of for one in known), sum(one.hits for one in known)).percent

    return Told(
        answers=sum(one.answers for one in there), first_p50=first.quantile(0.5),
        first_p95=first.quantile(0.95), gap_p95=gap.quantile(0.95),
        tokens_per_second=sum(one.tokens for one in there) / writing if writing else math.nan,
        cut_off=percent(one.cut_off for one in there),
        refused=percent(one.refused for one in there),
        invalid=percent(one.invalid for one in there),
    )  # fmt: skip
