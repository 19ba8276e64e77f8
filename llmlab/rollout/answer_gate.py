"""What a rollout asks of how its answers come and end, beside errors and latency:
``first_token:p95<=1.5x gap:p95<=2x cut_off<=+0.05``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from llmlab.answered import Answer
from llmlab.errors import UsageError
from llmlab.rollout.speed import Condition, parse_speed

# Seconds by which a token has to be later to be late, whatever the ratio: nobody sees less.
UNSEEN = 0.05
SECONDS: dict[str, Callable[[Answer], float | None]] = {
    "first_token": lambda answer: answer.first,
    "gap": lambda answer: answer.gap,
}
SHARES: dict[str, Callable[[Answer], bool | None]] = {
    "cut_off": lambda answer: answer.cut_off,
    "refusals": lambda answer: None if answer.refusal is None else answer.refusal == "field",
    # Those as well that begin as refusals do, which is a guess.
    "refusals_by_words": lambda answer: None if answer.refusal is None else bool(answer.refusal),
    "invalid": lambda answer: answer.invalid,
}
TIMED = re.compile(r"(\w+):(\S+)", re.ASCII)
SHARE = re.compile(r"(\w+)<=\+(\d+(?:\.\d+)?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Bound:
    """What is asked of answers in one respect.

    Args:
        condition: on its seconds; None of a share.
        margin: that the candidate's share may be above the other's.
    """

    respect: str
    condition: Condition | None = None
    margin: float = 0.0

    @property
    def name(self) -> str:
        """As a verdict calls it."""
        name = self.respect.replace("_", " ")
        return f"{name} p{100 * self.condition.quantile:g}" if self.condition else name

    def seconds(self, answer: Answer) -> float | None:
        """That an answer took in this respect; None where it has no such time."""
        return SECONDS[self.respect](answer) if self.condition else None

    def hit(self, answer: Answer) -> bool | None:
        """Whether an answer is one of those that are to be few; None where it cannot be."""
        return None if self.condition else SHARES[self.respect](answer)


def parse_answer_gate(text: str) -> tuple[Bound, ...]:
    """Bounds with a space between; none of "".

    Raises:
        UsageError: it is none; says what is wrong.
    """
    found = tuple(map(_bound, text.split()))
    names = [one.name for one in found]
    if twice := {one for one in names if names.count(one) > 1}:
        raise _wrong(f"{', '.join(sorted(twice))} stands there twice")
    return found


def _bound(text: str) -> Bound:
    if (timed := TIMED.fullmatch(text)) and timed[1] in SECONDS:
        (condition,) = parse_speed(timed[2])
        return Bound(timed[1], replace(condition, unnoticed=UNSEEN))
    if (share := SHARE.fullmatch(text)) and share[1] in SHARES:
        margin = float(share[2])
        if not 0 < margin < 1:
            raise _wrong(f"{text!r}: a share is above 0 and below 1")
        return Bound(share[1], margin=margin)
    raise _wrong(f"{text!r} is nothing that is known of answers")


def _wrong(message: str) -> UsageError:
    return UsageError(
        f"{message}; there are {', '.join(SECONDS)} with a quantile, and {', '.join(SHARES)}",
        fix='write it as "first_token:p95<=1.5x gap:p95<=2s cut_off<=+0.05"',
    )
