"""The embedded model ``textrank``: a summary made of the text's own best sentences.

TextRank (Mihalcea & Tarau 2004, "TextRank: Bringing Order into Texts"): sentences are the
nodes of a graph, similarity weighs its edges, and a sentence ranks high if sentences that
rank high are like it. Similarity is the cosine of TF-IDF vectors, as in LexRank (Erkan &
Radev 2004). No weights and no network: it reads texts of any length whole, and the same
text always gives the same summary.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from llmlab.runtimes.base import AbandonedAt, Encoded, Generation, Runtime, Summary, none_of_them
from llmlab.runtimes.sentences import LEAD, split_sentences
from llmlab.terminals import is_ended
from llmlab.words import WORD, is_tail, normalized

DAMPING = 0.85  # Brin & Page 1998, kept by Mihalcea & Tarau
TOLERANCE = 1e-6  # the largest change of a score in a round that ends the ranking
MAX_ROUNDS = 100  # 0.85 ** 100 < 1e-7: the tolerance is met before
DECIMALS = 5  # of a score: equal sentences tie, whatever the order of summation
DUPLICATE = 0.7  # the cosine above which a sentence repeats one that is chosen
CHARACTERS = 20  # of a summary for each word it may have, and 100 more: "words" may be blobs
DEPENDENT = 0.1  # the weight of a sentence that does not stand on its own

_FUNCTION_WORDS = """
a about after all also an and any are as at be because been before being both but by can could did
do does during each for from had has have he her here him his how i if in into is it its just may
me might more most must my no nor not of off on one only or other our out over own shall she should
since so some such than that the their them then there these they this those through to too under
until up upon us very was we were what when where which while who whom whose why will with within
without would you your
"""
STOP_WORDS = frozenset(_FUNCTION_WORDS.split())

_REFERRING_WORDS = """
also and another but he her his however it its later meanwhile nevertheless or she so such that
their then therefore these they this those thus yet
"""
OPENERS = frozenset(_REFERRING_WORDS.split())  # of a sentence that leans on the one before

Floats = NDArray[np.float64]


def words(text: str) -> list[str]:
    """The words of a text in order: the unit in which this runtime counts lengths.

    A word may hold apostrophes, hyphens and points ("keeper's", "U.S", "3.5"); each letter of
    a script without spaces (Chinese, Thai) is a word of its own.
    """
    return WORD.findall(normalized("NFC", text))


def sentences(text: str) -> list[str]:
    """The sentences of a text that hold a word, in order, white space collapsed.

    In Unicode's composed form: texts that differ in that alone get the same summary.
    """
    split = split_sentences(normalized("NFC", text))
    return [sentence for sentence in split if WORD.search(sentence)]


def stands_alone(sentence: str) -> bool:
    """Whether a sentence is one (not a heading or an item) and makes sense without another."""
    said = words(LEAD.sub("", sentence, count=1)) or words(sentence)
    return is_ended(sentence) and said[0].casefold() not in OPENERS


def _terms(sentence: list[str]) -> list[str]:
    return [word.replace("’", "'").casefold().removesuffix("'s") for word in sentence]


@dataclass(frozen=True, slots=True)
class Vectors:
    """TF-IDF vectors of length 1, one row per sentence, as coordinates of the non-zeros.

    ``rows``, ``columns`` and ``weights`` have shape (non-zeros,); ``shape`` is (sentences,
    terms). The similarities X Xᵀ, sentences² of them, are never formed: a product with them
    is two products with X, so that time and memory grow with the text and no faster.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    weights: Floats
    shape: tuple[int, int]

    @classmethod
    def of(cls, split: list[list[str]]) -> Vectors:
        """Weigh the words of each sentence by TF x IDF, IDF = ln((1 + n) / (1 + df)) + 1."""
        texts = [_terms(sentence) for sentence in split]
        content = [[term for term in terms if term not in STOP_WORDS] for terms in texts]
        texts = content if any(content) else texts
        vocabulary: dict[str, int] = {}
        term_ids = [vocabulary.setdefault(term, len(vocabulary)) for t in texts for term in t]
        row_ids = np.repeat(np.arange(len(texts)), [len(terms) for terms in texts])
        n, m = len(texts), len(vocabulary)
        cells, counts = np.unique(row_ids * m + np.array(term_ids), return_counts=True)
        rows, columns = np.divmod(cells, m)
        idf = np.log((1 + n) / (1 + np.bincount(columns, minlength=m))) + 1
        weights = counts * idf[columns]
        norms = np.sqrt(_sums(rows, weights**2, n))
        return cls(rows, columns, weights / norms[rows], (n, m))

    def times(self, mix: Floats) -> Floats:
        """X (Xᵀ mix): each sentence's similarity to a sum of sentences, shape (sentences,)."""
        n, m = self.shape
        terms = _sums(self.columns, self.weights * mix[self.rows], m)
        return _sums(self.rows, self.weights * terms[self.columns], n)

    def cosines(self, i: int) -> Floats:
        """Each sentence's similarity to sentence ``i``, shape (sentences,)."""
        alone = np.zeros(self.shape[0])
        alone[i] = 1
        return self.times(alone)


def _sums(groups: NDArray[np.intp], values: Floats, size: int) -> Floats:
    return np.bincount(groups, values, size).astype(np.float64, copy=False)


def rank(vectors: Vectors) -> Floats:
    """TextRank's score of each sentence, shape (sentences,), at most 1 on average.

    score = (1 - d) + d * S (score / degree), by power iteration; S holds the similarities
    without the diagonal, degree their sums. A sentence like no other scores 1 - d.
    """
    n = vectors.shape[0]
    degree = vectors.times(np.ones(n)) - 1
    # Less than this is what floating point leaves of 1 - 1, not a neighbour.
    inverse = np.divide(1.0, degree, out=np.zeros(n), where=degree > 1e-9)
    scores = np.ones(n)
    for _ in range(MAX_ROUNDS):
        share = scores * inverse
        previous, scores = scores, 1 - DAMPING + DAMPING * (vectors.times(share) - share)
        if np.abs(scores - previous).max() < TOLERANCE:
            break
    return scores.round(DECIMALS)


def select(
    scores: Floats, vectors: Vectors, lengths: list[int], min_words: int, max_words: int
) -> dict[int, int]:
    """Choose sentences: {index: how many of its words to keep}, in the text's order.

    The best one is always in, cut if it must be. Then the best of those that say something
    new, fit whole and are above average (lest scraps fill the room that is left), each worth
    less the closer it is to a chosen one (MMR, Carbonell & Goldstein 1998). To reach
    ``min_words`` any whole sentence will do, then a cut one, then a duplicate; but a summary
    never exceeds ``max_words``.
    """
    size, average = np.array(lengths), scores.mean().round(DECIMALS)
    closeness = np.zeros(len(lengths))  # the highest cosine with a chosen sentence
    left = np.ones(len(lengths), dtype=bool)
    kept: dict[int, int] = {}
    room = max_words
    while room > 0:
        new = left & (closeness <= DUPLICATE)
        whole = new & (size <= room)
        good = whole & (scores >= average)
        enough = max_words - room >= min_words
        choices = [good] if enough else [good, whole, new, left]
        choice = next((c for c in choices if c.any()), None) if kept else left
        if choice is None:
            break
        worth = (scores * (1 - closeness)).round(DECIMALS)
        best = int(np.where(choice, worth, -np.inf).argmax())
        kept[best] = min(lengths[best], room)
        room -= kept[best]
        left[best] = False
        closeness = np.maximum(closeness, vectors.cosines(best))
    return dict(sorted(kept.items()))


def cut(sentence: str, length: int) -> str:
    """The first ``length`` words of a sentence, with an ellipsis if that is not all."""
    ends = [word.end() for word in WORD.finditer(sentence)]
    return sentence if length >= len(ends) else f"{sentence[: ends[length - 1]]} …"


def bounded(summary: str, max_words: int) -> str:
    """A summary that is no longer in characters than so many words can be in any language."""
    limit = 100 + CHARACTERS * max_words
    if len(summary) <= limit:
        return summary
    end = limit - 2
    while end and is_tail(summary[end]):
        end -= 1
    return f"{summary[:end].rstrip()} …"


@dataclass(frozen=True, slots=True)
class TextRank(Runtime):
    """The runtime of the embedded model. It keeps no state, so any thread may call it; more
    than one at once gain nothing, for it is Python.

    Args:
        max_length: Longest summary, in words, of a request that names no limit.
        min_length: Shortest summary, in words, as far as the text has that many.
    """

    max_length: int = 100
    min_length: int = 5
    version: ClassVar[str] = "2"

    def encode(self, text: str, generation: Generation) -> Encoded:
        """It is read whole, whatever the strategy, and goes with any other text."""
        found = sentences(text)
        length = sum(len(words(sentence)) for sentence in found)
        return Encoded((text, found, generation), length, length, window=0, key=())

    def generate(
        self, batch: Sequence[Encoded], abandoned: AbandonedAt = none_of_them
    ) -> list[Summary]:
        """Summarize texts one after the other."""
        return [
            Summary("", 0, 0, truncated=False) if abandoned(place) else self._summary(*one.content)
            for place, one in enumerate(batch)
        ]

    def _summary(self, text: str, found: list[str], generation: Generation) -> Summary:
        """A text without a single word ("!!!", an emoji) is its own summary, at most as many
        characters long as a summary may have words."""
        longest = self.max_length if generation.max_length is None else generation.max_length
        shortest = self.min_length if generation.min_length is None else generation.min_length
        if not found:
            return Summary(text.strip()[:longest], 0, 0, truncated=False)

        split = [words(sentence) for sentence in found]
        lengths = [len(sentence) for sentence in split]
        vectors = Vectors.of(split)
        weights = [1 if stands_alone(sentence) else DEPENDENT for sentence in found]
        scores = rank(vectors) * np.array(weights)
        kept = select(scores, vectors, lengths, shortest, longest)
        summary = " ".join(cut(found[i], length) for i, length in kept.items())
        summary = bounded(summary, longest)
        return Summary(summary, sum(lengths), len(words(summary)), truncated=False)


def identity() -> str:
    """The model's content hash, "sha256:<64 hex digits>".

    It covers the parameters, the word lists and the version, which stands for the code. The
    default lengths belong to the request and are left out.
    """
    content = {
        "algorithm": ["textrank", TextRank.version],
        "parameters": [DAMPING, TOLERANCE, MAX_ROUNDS, DECIMALS, DUPLICATE, DEPENDENT],
        "words": [sorted(STOP_WORDS), sorted(OPENERS)],
    }
    return f"sha256:{hashlib.sha256(json.dumps(content).encode()).hexdigest()}"
