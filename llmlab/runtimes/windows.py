"""Long texts as windows that a model can read: cut between sentences, overlapping a little."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence

# What stands at a window's end is read again at the start of the next one, so that a
# sentence is understood whose subject stands in the one before.
OVERLAP = 2  # sentences
# ... unless they fill more of a window than this.
MOST_OVERLAP = 0.2
# Tokens of two pieces together may differ from their sum by a few.
MARGIN = 8

Count = Callable[[str], int]


def windows(text: str, size: int, count: Count) -> list[str]:
    """Cut a text into pieces of at most ``size`` tokens, in its order, leaving nothing out.

    Args:
        count: tokens of a piece of text, with whatever the model wants in front and behind.
            Joined pieces may have a few tokens more than the pieces have together.
    """
    size -= MARGIN
    pieces = [part for one in _sentences(text) for part in _fitting(one, size, count)]
    lengths = [count(piece) for piece in pieces]
    found: list[str] = []
    start = 0
    while start < len(pieces):
        end = _end(lengths, start, size)
        found.append(" ".join(pieces[start:end]))
        if end == len(pieces):
            break
        start = _next_start(lengths, start, end, size)
    return found


def _end(lengths: Sequence[int], start: int, size: int) -> int:
    """One past the last piece of the window that starts there; it has one at least."""
    used = lengths[start]
    end = start + 1
    while end < len(lengths) and used + lengths[end] <= size:
        used += lengths[end]
        end += 1
    return end


def _next_start(lengths: Sequence[int], start: int, end: int, size: int) -> int:
    """Where the next window starts: before ``end``, but well after ``start``, and such that
    it reaches beyond ``end``."""
    again = end
    used = 0
    while end - again < OVERLAP and again - 1 > start:
        used += lengths[again - 1]
        if used > MOST_OVERLAP * size or used + lengths[end] > size:
            break
        again -= 1
    return again


def _sentences(text: str) -> Iterator[str]:
    """Sentences by nupunkt, paragraph by paragraph."""
    from nupunkt import sent_tokenize

    for paragraph in re.split(r"\n\s*\n", text):
        if paragraph.strip():
            yield from (one.strip() for one in sent_tokenize(paragraph) if one.strip())


def _fitting(sentence: str, size: int, count: Count) -> Iterator[str]:
    """A sentence that is longer than a window (a table, a text without full stops) in halves,
    between words if there are any."""
    if count(sentence) <= size or len(sentence) < 2:
        yield sentence
        return
    middle = len(sentence) // 2
    spaces = [found.start() for found in re.finditer(r"\s", sentence)]
    cut = min(spaces, key=lambda place: abs(place - middle), default=middle)
    cut = cut if 0 < cut < len(sentence) - 1 else middle
    for half in itertools.chain((sentence[:cut].strip(), sentence[cut:].strip())):
        if half:
            yield from _fitting(half, size, count)
