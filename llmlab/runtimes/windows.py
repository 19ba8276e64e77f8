"""Long texts as windows that a model can read: cut between sentences, overlapping a little."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from llmlab.runtimes.sentences import split_sentences

# What stands at a window's end is read again at the start of the next one, so that a
# sentence is understood whose subject stands in the one before.
OVERLAP = 2  # pieces (sentences, as a rule)
# ... unless they fill more of a window than this.
MOST_OVERLAP = 0.2

Count = Callable[[str], int]


def windows(text: str, size: int, count: Count) -> list[str]:
    """Cut a text into pieces of at most ``size`` tokens, in its order, leaving nothing out.

    White space is collapsed. A single character above the size is a window all the same.

    Args:
        count: tokens of a piece of text by itself.
    """
    pieces = [part for one in split_sentences(text) for part in _fitting(one, size, count)]
    lengths = [count(piece) for piece in pieces]

    def end_of(start: int) -> int:
        """One past the last piece of the window that starts there; it has one at least."""
        end = _estimated_end(lengths, start, size)
        # Joined pieces have a few tokens more than they have one by one; twice as many where a
        # text is made of single letters. In proportion, so that no text takes many tries.
        while end - start > 1 and (found := count(" ".join(pieces[start:end]))) > size:
            fitting = (end - start) * size // found
            end = start + max(1, min(fitting, end - start - 1))
        return end

    found: list[str] = []
    end = 0
    while end < len(pieces):
        start = _start_before(lengths, end, size) if found else 0
        stop = end_of(start)
        if stop <= end:  # the overlap leaves no room for what is new
            start, stop = end, end_of(end)
        found.append(" ".join(pieces[start:stop]))
        end = stop
    return found


def _estimated_end(lengths: Sequence[int], start: int, size: int) -> int:
    end, used = start + 1, lengths[start]
    while end < len(lengths) and used + lengths[end] <= size:
        used += lengths[end]
        end += 1
    return end


def _start_before(lengths: Sequence[int], end: int, size: int) -> int:
    """Where the window that goes on from ``end`` starts: at most OVERLAP pieces earlier."""
    start, used = end, 0
    while end - start < OVERLAP and start > 0:
        used += lengths[start - 1]
        if used > MOST_OVERLAP * size:
            break
        start -= 1
    return start


def _fitting(sentence: str, size: int, count: Count) -> Iterator[str]:
    """A sentence that is longer than a window (a table, a text without full stops) in halves,
    between words if there are any."""
    if count(sentence) <= size or len(sentence) < 2:
        yield sentence
        return
    cut = _middle(sentence)
    for half in (sentence[:cut].strip(), sentence[cut:].strip()):
        if half:
            yield from _fitting(half, size, count)


def _middle(sentence: str) -> int:
    """The space that is next to the middle; the middle itself if there is none."""
    middle = len(sentence) // 2
    spaces = (found.start() for found in re.finditer(r"(?<=\S)\s(?=\S)", sentence))
    return min(spaces, key=lambda place: abs(place - middle), default=middle)
