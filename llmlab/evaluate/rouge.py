"""ROUGE-1, -2, -L and -Lsum (Lin 2004), the same numbers as the package ``rouge-score``.

Tokens are those of ``rouge-score`` without a stemmer: lower case, runs of a-z and 0-9. Of a
reference that is mostly written in other letters these would be nothing, so there the tokens
are ``text.words``. Lsum compares sentences, split as the embedded model splits them
(``rouge-score`` itself wants one sentence a line).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from llmlab.evaluate.text import sentences, words

Tokens = Sequence[Hashable]
_TOKEN = re.compile(r"[a-z0-9]+")
MASKS = 4096  # bit masks kept at a time; at 100,000 words each has 12.5 kB


@dataclass(frozen=True, slots=True)
class Score:
    """Shares in 0..1: ``precision`` of the summary, ``recall`` of the reference, their F1."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0

    @classmethod
    def of(cls, hits: int, reference: int, summary: int) -> Score:
        return cls(hits / max(summary, 1), hits / max(reference, 1))


def rouge(reference: str, summary: str) -> dict[str, Score]:
    """All four scores of a summary: ``rouge1``, ``rouge2``, ``rougeL``, ``rougeLsum``."""
    split = tokenizer(reference)
    of_reference, of_summary = split(reference), split(summary)
    return {
        "rouge1": rouge_n(of_reference, of_summary, 1),
        "rouge2": rouge_n(of_reference, of_summary, 2),
        "rougeL": rouge_l(of_reference, of_summary),
        "rougeLsum": rouge_lsum(
            [split(one) for one in sentences(reference)], [split(one) for one in sentences(summary)]
        ),
    }


def tokens(text: str) -> list[str]:
    """The tokens of ``rouge-score``: lower case, runs of a-z and 0-9."""
    return _TOKEN.findall(text.lower())


def tokenizer(reference: str) -> Callable[[str], list[str]]:
    """``tokens``, or ``words`` if most letters and digits of the reference are not ASCII."""
    letters = sum(letter.isalnum() for letter in reference)
    return tokens if 2 * sum(map(len, tokens(reference))) >= letters else words


def rouge_n(reference: Tokens, summary: Tokens, n: int) -> Score:
    """The overlap of n-grams, each counted as often as it occurs in both."""
    of_reference, of_summary = _ngrams(reference, n), _ngrams(summary, n)
    hits = (of_reference & of_summary).total()
    return Score.of(hits, of_reference.total(), of_summary.total())


def _ngrams(tokens: Tokens, n: int) -> Counter[tuple[Hashable, ...]]:
    return Counter(tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1))


def rouge_l(reference: Tokens, summary: Tokens) -> Score:
    """The longest common subsequence of both as a whole."""
    return Score.of(lcs_length(reference, summary), len(reference), len(summary))


def rouge_lsum(reference: Sequence[Tokens], summary: Sequence[Tokens]) -> Score:
    """The union of each reference sentence's common subsequences with all of the summary's.

    A token is a hit at most as often as it occurs in both, as in ROUGE-1.5.5. The time grows
    with sentences of the reference times words of the summary.
    """
    total_reference, total_summary = sum(map(len, reference)), sum(map(len, summary))
    if len(reference) == 1 and len(summary) == 1:  # then there is nothing to unite
        return rouge_l(reference[0], summary[0])
    left = Counter(token for sentence in reference for token in sentence)
    left &= Counter(token for sentence in summary for token in sentence)
    hits = 0
    for sentence in reference:
        masks = _masks(sentence)
        union = {at for other in summary for at in _lcs_positions(sentence, other, masks)}
        for at in sorted(union):
            if left[sentence[at]] > 0:
                left[sentence[at]] -= 1
                hits += 1
    return Score.of(hits, total_reference, total_summary)


def lcs_length(a: Tokens, b: Tokens) -> int:
    """The length of the longest common subsequence, bit by bit (Crochemore et al. 2001).

    One integer holds a row of the table, as one bit per token of ``a``: memory is linear, and
    two texts of 100,000 words take seconds.
    """
    shared = set(a) & set(b)
    a, b = [one for one in a if one in shared], [one for one in b if one in shared]
    full = (1 << len(a)) - 1
    row = full
    for row in _rows(b, _masks(a), full):  # noqa: B007  the last one counts
        pass
    return len(a) - row.bit_count()


def _rows(tokens: Tokens, mask: Callable[[Hashable], int], full: int) -> Iterator[int]:
    """The table's rows. A bit is 0 where the length grows by one with this token of ``a``."""
    row = full
    for token in tokens:
        matching = row & mask(token)
        row = ((row + matching) | (row - matching)) & full
        yield row


def _masks(tokens: Tokens) -> Callable[[Hashable], int]:
    """A function from a token to the bits of its places."""
    places: dict[Hashable, list[int]] = {}
    for at, token in enumerate(tokens):
        places.setdefault(token, []).append(at)
    size = len(tokens) // 8 + 1

    @lru_cache(MASKS)
    def mask(token: Hashable) -> int:
        bits = bytearray(size)
        for at in places.get(token, ()):
            bits[at // 8] |= 1 << at % 8
        return int.from_bytes(bits, "little")

    return mask


def _lcs_positions(a: Tokens, b: Tokens, mask: Callable[[Hashable], int]) -> Iterator[int]:
    """The places in ``a`` of one longest common subsequence: of several, rouge-score's.

    It walks back through the table: where tokens differ, rouge-score leaves out the one of
    ``b`` if that costs nothing and the one of ``a`` would, which is where the bit is 0.
    """
    if not any(mask(token) for token in b):
        return
    rows = list(_rows(b, mask, (1 << len(a)) - 1))
    i, j = len(a) - 1, len(b) - 1
    while i >= 0 and j >= 0:
        if a[i] == b[j]:
            yield i
            i, j = i - 1, j - 1
        elif rows[j] >> i & 1:
            i -= 1
        else:
            j -= 1
