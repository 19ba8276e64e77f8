"""Words that the end of a line broke in two, as PDF and print leave them: "Seat-", "tle"."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

from llmlab.words import MARKS, RUN

# A hyphen (or a soft one) between a letter and a letter of the next line or page.
_BREAK = re.compile(
    rf"(?<=[^\W\d_]|[{MARKS}])([-\u2010\u00ad])"
    r"(?:\s*\f\s*|[ \t]*(?:\r\n|[\n\r\v\x85\u2028])[ \t]*)(?=[^\W\d_])"
)
_WORD = re.compile(rf"{RUN}(?:[-\u2010'’]{RUN})*")
_BEFORE = re.compile(rf"[\w{MARKS}\u2010-]+$")
_CONJUNCTIONS = "and or to und oder bis bzw et ou y o e"  # "Vor- und Nachteile"
_LONGEST = 100  # characters of a word that is looked at
_SUSPENDED = frozenset(_CONJUNCTIONS.split())


@dataclass(frozen=True, slots=True)
class Mended:
    """A text with its broken words joined.

    Args:
        text: As it reads.
        starts, shifts: From the character ``starts[i]`` of ``text`` on, the original is
            ``shifts[i]`` characters ahead.
    """

    text: str
    starts: tuple[int, ...] = ()
    shifts: tuple[int, ...] = ()

    def origin(self, place: int) -> int:
        """Where a character of the text stands in the original."""
        at = bisect_right(self.starts, place)
        return place + self.shifts[at - 1] if at else place

    def origin_of_end(self, place: int) -> int:
        """Where a span that ends before ``place`` ends in the original."""
        return self.origin(place - 1) + 1 if place else 0


def mended(text: str) -> Mended:
    """Join the words that an end of line broke.

    The hyphen stays where the text itself writes the word so elsewhere ("well-known") or the
    word has one already ("state-of-the-art"). "Vor-" before "und" and its like is no break.
    """
    breaks = [found for found in _BREAK.finditer(text) if text[found.end()].islower()]
    if not breaks:
        return Mended(text)
    known = {word.casefold() for word in _WORD.findall(text)}
    parts: list[str] = []
    removed: list[tuple[int, int]] = []  # (where in the text as it reads, how much)
    start = length = 0
    for found in breaks:
        before = _BEFORE.search(text, max(0, found.start() - _LONGEST), found.start())
        after = _WORD.match(text, found.end(), found.end() + _LONGEST)
        assert before and after
        if after[0].casefold() in _SUSPENDED and found[1] != "\u00ad":
            continue
        keeps = found[1] != "\u00ad" and _has_hyphen(before[0], after[0], known)
        kept = found.end(1) if keeps else found.start()
        parts.append(text[start:kept])
        length += kept - start
        removed.append((length, found.end() - kept))
        start = found.end()
    parts.append(text[start:])
    shifts = accumulate(much for _, much in removed)
    return Mended("".join(parts), tuple(where for where, _ in removed), tuple(shifts))


def _has_hyphen(before: str, after: str, known: set[str]) -> bool:
    joined, apart = f"{before}{after}".casefold(), f"{before}-{after}".casefold()
    return "-" in before or (apart in known and joined not in known)
