"""What JSON escapes within a text, read as it is meant.

The arguments of a tool call, and many an answer, are JSON in a text: before a key that begins a
line stands the ``n`` of ``\\n`` there, and no pattern takes it for a beginning. So such a text is
looked at twice, as it is and as it is meant; JSON within JSON has more backslashes, which make no
difference.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable

from llmlab.guards.base import Finding

LONGEST = 9  # characters of one escape, within JSON within JSON
_ESCAPE = re.compile(r"\\+(?:u[0-9a-fA-F]{4}|[\"\\/bfnrt])")
_BACKSLASHES = re.compile(r"\\{2,}")
_BY_NUMBER = re.compile(r"\\u([0-9a-fA-F]{4})")
_OPEN_NUMBER = re.compile(r"u[0-9a-fA-F]{0,3}\Z")
_MEANT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "/": "/"}


def found_in(text: str, find: Callable[[str], Iterable[Finding]]) -> list[Finding]:
    """What is found in a text, as it is and as it is meant; places are those of the text."""
    found = list(find(text))
    meant = _meant(text)
    if meant == text:
        return found
    within = list(find(meant))
    if not (found or within):
        return found
    places = _Places(text)
    seen = [
        Finding(places.span(one.start)[0], places.span(one.end - 1)[1], one.label) for one in within
    ]
    ends = {(one.label, one.end) for one in seen}
    for one in found:
        start, end = places.whole(one.start), places.whole(one.end, at_end=True)
        # One that begins with a part of an escape took that for its own.
        if start == one.start or (one.label, end) not in ends:
            seen.append(Finding(start, end, one.label))
    return _once(seen)


def pending_in(text: str, pending: Callable[[str], int]) -> int:
    """From where on something may begin that is not all there yet, in either."""
    place, meant = min(pending(text), _open(text)), _meant(text)
    if meant == text:
        return place
    places, within = _Places(text), pending(meant)
    if within < len(meant):
        place = min(place, places.span(within)[0])
    return places.whole(place)


def _open(text: str) -> int:
    """Where an escape begins that is not all there yet."""
    number = _OPEN_NUMBER.search(text, max(0, len(text) - 4))
    end = number.start() if number else len(text)
    if end and text[end - 1] == "\\":
        return len(text[:end].rstrip("\\"))
    return len(text)


def _meant(text: str) -> str:
    """Without a loop over all escapes: a text may have nothing else."""
    if "\\" not in text:
        return text
    text = _BACKSLASHES.sub(r"\\", text)
    text = _BY_NUMBER.sub(_char, text)
    for letter, char in _MEANT.items():
        text = text.replace(f"\\{letter}", char)
    return text


def _char(escape: re.Match[str]) -> str:
    """One character. Half of a surrogate pair is none that a pattern looks for, and what would
    be an escape itself is meant as it stands."""
    code = int(escape[1], 16)
    return "\ufffd" if 0xD800 <= code <= 0xDFFF or code == ord("\\") else chr(code)


class _Places:
    """Where the characters of a text as it is meant stand in the text as it is."""

    def __init__(self, text: str) -> None:
        self._spans = [match.span() for match in _ESCAPE.finditer(text)]
        self._starts = [start for start, _ in self._spans]
        self._at: list[int] = []  # where the character of each escape is in the text as meant
        saved = 0
        for start, end in self._spans:
            self._at.append(start - saved)
            saved += end - start - 1

    def span(self, place: int) -> tuple[int, int]:
        number = bisect_right(self._at, place) - 1
        if number < 0:
            return place, place + 1
        start, end = self._spans[number]
        beyond = place - self._at[number]
        return (end + beyond - 1, end + beyond) if beyond else (start, end)

    def whole(self, place: int, *, at_end: bool = False) -> int:
        """A place in the text as it is; within an escape, the one before or behind all of it."""
        number = bisect_right(self._starts, place - 1) - 1
        if number < 0 or place >= self._spans[number][1]:
            return place
        return self._spans[number][at_end]


def _once(found: list[Finding]) -> list[Finding]:
    """Without those that lie within another one of their label."""
    kept: list[Finding] = []
    for one in sorted(found, key=lambda one: (one.label, one.start, -one.end)):
        if not (kept and kept[-1].label == one.label and one.end <= kept[-1].end):
            kept.append(one)
    return kept
