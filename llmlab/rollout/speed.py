"""What a rollout asks of a candidate's latency: ``p50<=1.25x p95<=800ms``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from llmlab.errors import UsageError

# Seconds by which an answer has to be later to be slow, whatever the ratio: what nobody notices.
UNNOTICED = 0.005
FEWEST = 20  # answers of the base, below which it has no quantile yet
CONDITION = re.compile(r"p(\d{1,2}(?:\.\d+)?)<=(\d+(?:\.\d+)?)(x|ms|s)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Condition:
    """A quantile of the seconds, and what it may be at most.

    Args:
        quantile: above 0 and below 1.
        ratio: to the same quantile of what the candidate is held against; 0 if ``most`` is meant.
        most: seconds.
        unnoticed: seconds that nobody would notice, for a ratio.
    """

    quantile: float
    ratio: float = 0.0
    most: float = 0.0
    unnoticed: float = UNNOTICED

    @property
    def allowed(self) -> float:
        """The share of answers that may be slower than the limit."""
        return 1 - self.quantile

    def limit(self, quantile: float) -> float:
        """Seconds above which an answer is slow, where the other's quantile is so many."""
        return max(self.ratio * quantile, quantile + self.unnoticed) if self.ratio else self.most

    def __str__(self) -> str:
        bound = f"{self.ratio:g}x" if self.ratio else f"{1000 * self.most:g}ms"
        return f"p{100 * self.quantile:g}<={bound}"


def parse_speed(text: str) -> tuple[Condition, ...]:
    """Conditions with a space between; none of "".

    Raises:
        UsageError: it is none; says what is wrong.
    """
    return tuple(map(_condition, text.split()))


def _condition(text: str) -> Condition:
    found = CONDITION.fullmatch(text)
    if not found:
        raise _wrong(f"{text!r} is no condition on the latency")
    quantile, bound = float(found[1]) / 100, float(found[2])
    if quantile == 0:
        raise _wrong(f"{text!r}: p0 is the fastest answer, which says nothing")
    if found[3] == "x":
        if bound < 1:
            raise _wrong(f"{text!r} asks for a faster model, and a rollout for one no worse")
        return Condition(quantile, ratio=bound)
    if bound == 0:
        raise _wrong(f"{text!r} leaves no time at all")
    return Condition(quantile, most=bound / 1000 if found[3] == "ms" else bound)


def _wrong(message: str) -> UsageError:
    return UsageError(message, fix='write it as "p50<=1.25x p95<=800ms"')
