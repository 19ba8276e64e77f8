"""How a summary relates to its source in form: new or copied, repetitive, long, cut off."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from llmlab.evaluate.fragments import fragments
from llmlab.evaluate.text import words

COPIED = 5  # words side by side that count as copied, not as a phrase everybody uses
LOOP = 3  # words side by side whose recurrence counts as repetition
REPETITIVE = 0.2  # the share of recurring words from which a summary is called repetitive

_ENDED = re.compile(r"[.!?。！？｡؟।][\"'”’»」』）)\]*]*$")


@dataclass(frozen=True, slots=True)
class Style:
    """Lexical facts about the form of one summary; shares are in 0..1.

    Args:
        length: Words of the summary.
        compression: Words of the source for each word of the summary; None if that has none.
        novelty: The share of the summary's 2-grams that are not in the source; None if it has
            no two words.
        copy_rate: The share of its words in copied spans of at least ``COPIED`` words.
        longest_copy: The words of the longest copied span.
        fragment_coverage, fragment_density: Grusky et al.'s: the words in copied spans of any
            length, and the sum of those lengths' squares, each per word.
        repetition: The share of its 3-grams that occurred before.
        empty: No word in it.
        unfinished: It has words and does not end as a sentence does ("…" is no end).
    """

    length: int
    compression: float | None
    novelty: float | None
    copy_rate: float
    longest_copy: int
    fragment_coverage: float
    fragment_density: float
    repetition: float
    empty: bool
    unfinished: bool

    @property
    def repetitive(self) -> bool:
        return self.repetition >= REPETITIVE


def style(source: str, summary: str) -> Style:
    """Compare a summary with its source, both in ``text.words``."""
    of_source, of_summary = words(source), words(summary)
    lengths = [one.length for one in fragments(of_source, of_summary)]
    size = len(of_summary)
    per_word = 1 / max(size, 1)
    return Style(
        length=size,
        compression=len(of_source) / size if size else None,
        novelty=novelty(of_source, of_summary),
        copy_rate=sum(length for length in lengths if length >= COPIED) * per_word,
        longest_copy=max(lengths, default=0),
        fragment_coverage=sum(lengths) * per_word,
        fragment_density=sum(length**2 for length in lengths) * per_word,
        repetition=repetition(of_summary),
        empty=not of_summary,
        unfinished=bool(of_summary) and not _ENDED.search(summary.rstrip()),
    )


def novelty(source: Sequence[str], summary: Sequence[str], n: int = 2) -> float | None:
    """The share of the summary's n-grams that are not in the source; None if it has none."""
    of_summary = list(_ngrams(summary, n))
    if not of_summary:
        return None
    known = set(_ngrams(source, n))
    return sum(one not in known for one in of_summary) / len(of_summary)


def repetition(summary: Sequence[str], n: int = LOOP) -> float:
    """The share of the n-grams that repeat an earlier one; 0 where there is none."""
    all_of_them = list(_ngrams(summary, n))
    return 1 - len(set(all_of_them)) / len(all_of_them) if all_of_them else 0.0


def _ngrams(sequence: Sequence[str], n: int) -> zip[tuple[str, ...]]:
    return zip(*(islice(sequence, at, None) for at in range(n)), strict=False)
