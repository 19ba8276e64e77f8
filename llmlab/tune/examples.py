"""What the model is trained on: each text as the service will read it.

A text that is longer than the model's window is cut into windows, as ``service.reader`` does.
A window's target is what of the reference is about it: the sentences whose words it has most
of. A window with nothing of the reference is left out: nobody has said what is good there, and
to make the model write what it cannot see would teach it to invent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from llmlab.evaluate.suite import Case
from llmlab.evaluate.text import words
from llmlab.runtimes.sentences import split_sentences
from llmlab.runtimes.windows import windows

SUPPORT = 0.6  # of a sentence's words that a window must have, to be what it is about

Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Example:
    """What the model reads, and what it should write."""

    source: str
    target: str


@dataclass(frozen=True)
class Examples:
    """All examples of some texts. ``left_out``: texts whose reference fits no window."""

    all: tuple[Example, ...]
    left_out: int

    @classmethod
    def of(cls, cases: Iterable[Case], window: int, count: Count) -> Examples:
        """
        Args:
            window: tokens that the model reads at once.
            count: tokens of a text, with all that goes around it.
        """
        made: list[Example] = []
        left_out = 0
        for case in cases:
            found = _of_case(case, window, count)
            made += found
            left_out += not found
        return cls(tuple(made), left_out)


def _of_case(case: Case, window: int, count: Count) -> list[Example]:
    assert case.reference is not None
    if count(case.text) <= window:
        return [Example(case.text, case.reference)]
    around = count(".") - 1
    pieces = windows(case.text, window - around, lambda piece: count(piece) - around)
    targets = _shared_out(list(split_sentences(case.reference)), pieces)
    return [Example(piece, target) for piece, target in zip(pieces, targets, strict=True) if target]


def _shared_out(sentences: Sequence[str], pieces: Sequence[str]) -> list[str]:
    """For each piece of the text the sentences that are about it, "" for none. Windows overlap,
    so a sentence may be about two."""
    known = [set(words(piece)) for piece in pieces]
    targets: list[list[str]] = [[] for _ in pieces]
    for sentence in sentences:
        wanted = set(words(sentence))
        support = [len(wanted & there) / max(1, len(wanted)) for there in known]
        best = max(support)
        for place, found in enumerate(support):
            if found == best >= SUPPORT:
                targets[place].append(sentence)
    return [" ".join(one) for one in targets]
