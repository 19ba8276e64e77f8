"""What became of an answer of OpenAI's dialect, as its API tells it in one word once it is over:

    first:412,gap:96,writing:2310,tokens:87,cut:0,refused:0,invalid:-

The API writes it, the gateway's script lets it into the log, and whoever reads the log reads it
here. A word that is any other is none. ``-`` stands for what nobody knows, or nobody asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Refusal = Literal["", "field", "words"]
MOST = 9_999_999  # milliseconds, and tokens: more of them is told as so many
# The same expression as in nginx.conf and gateway/usage.js.
WORD = re.compile(
    r"first:(\d{1,7}|-),gap:(\d{1,7}|-),writing:(\d{1,7}|-),tokens:(\d{1,7}),"
    r"cut:([01-]),refused:([012-]),invalid:([01-])",
    re.ASCII,
)
REFUSALS: tuple[Refusal, ...] = ("", "field", "words")


@dataclass(frozen=True, slots=True)
class Answer:
    """All times are those that the API waited for its model: a client that reads slowly is not in
    them.

    Args:
        first: seconds until the first token, once it had its turn; None where it was no stream, as
            for the next two.
        gap: the longest time between two tokens, in seconds; None where there were not two.
        writing: seconds from the first token to the last one.
        tokens: that were written, in all choices.
        cut_off: it ended at its limit of tokens, or broke off; None if its client ended it.
        refusal: "field": it says so in the field ``refusal``, or ended by the filter of its
            provider; "words": it begins as refusals do, which is a guess. "" for none, and None
            where it cannot be told.
        invalid: it is not of the format that was asked for, or calls a tool that was not offered,
            or not in JSON; None where neither can be said.
    """

    first: float | None = None
    gap: float | None = None
    writing: float | None = None
    tokens: int = 0
    cut_off: bool | None = None
    refusal: Refusal | None = None
    invalid: bool | None = None

    @property
    def rate(self) -> float | None:
        """Tokens a second, after the first one."""
        return (self.tokens - 1) / self.writing if self.writing and self.tokens > 1 else None

    def __str__(self) -> str:
        refused = "-" if self.refusal is None else REFUSALS.index(self.refusal)
        return (
            f"first:{_ms(self.first)},gap:{_ms(self.gap)},writing:{_ms(self.writing)},"
            f"tokens:{min(self.tokens, MOST)},cut:{_bit(self.cut_off)},refused:{refused},"
            f"invalid:{_bit(self.invalid)}"
        )

    @classmethod
    def parse(cls, word: object) -> Answer | None:
        """None of what is no such word."""
        told = WORD.fullmatch(word) if isinstance(word, str) else None
        if not told:
            return None
        return cls(
            _seconds(told[1]), _seconds(told[2]), _seconds(told[3]), int(told[4]),
            _flag(told[5]), None if told[6] == "-" else REFUSALS[int(told[6])], _flag(told[7]),
        )  # fmt: skip


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{min(MOST, max(0, round(1000 * seconds)))}"


def _seconds(text: str) -> float | None:
    return None if text == "-" else int(text) / 1000


def _bit(value: bool | None) -> str:
    return "-" if value is None else f"{value:d}"


def _flag(text: str) -> bool | None:
    return None if text == "-" else text == "1"
