"""The embedded model ``textrank``: a summary made of the text's own best sentences.

TextRank (Mihalcea & Tarau 2004, "TextRank: Bringing Order into Texts", EMNLP): sentences
are the nodes of a graph, their similarity is the weight of its edges, and a sentence that
many similar sentences point to ranks high. Similarity is the cosine of TF-IDF vectors, as
in LexRank (Erkan & Radev 2004, JAIR 22). It needs numpy and nupunkt, no weights, no
network, reads texts of any length whole, and gives the same text the same summary.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from nupunkt.models import load_default_model

from llmlab.runtimes.base import Generation, Summary

DAMPING = 0.85  # Brin & Page 1998, kept by Mihalcea & Tarau
TOLERANCE = 1e-6  # largest change of a score in a round that ends the ranking
MAX_ROUNDS = 100  # 0.85 ** 100 < 1e-7: the tolerance is reached before
DECIMALS = 5  # of a score: equal sentences tie, whatever the order of summation
LEANING = 0.5  # weight of a sentence that opens with a word like "it" or "later"
DUPLICATE = 0.7  # cosine above which a sentence says what a chosen one has said

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
OPENERS = frozenset(_REFERRING_WORDS.split())

# A tokenizer of our own: the one that nupunkt.load() shares can be changed by any caller.
_PUNKT = load_default_model()

_CJK = (
    "\u3005-\u3007\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    "\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff"
)
_LETTER = rf"[^\W_{_CJK}]"
_JOINT = r"(?:[-'’._]|(?<=\d),(?=\d))"  # well-known, keeper's, U.S, 3.5, 1,200
_WORD = re.compile(rf"(?=\w)[{_CJK}]|{_LETTER}+(?:{_JOINT}{_LETTER}+)*")

_CJK_STOP = re.compile("[。！？｡]+[」』”’）]*")
_BLOCK_END = re.compile(r"\n\s*\n|\n(?=\s*[-*•] )")  # a blank line, or the next list item
# Punkt looks at what follows each full stop up to the next space, so its time grows with the
# square of a run without spaces. A run this long is no prose and is not searched.
_UNBROKEN = re.compile(r"(?<!\S)(\S{1000,})")

Floats = NDArray[np.float64]


def words(text: str) -> list[str]:
    """The words of a text, in order: the unit in which this runtime counts lengths.

    A word may hold apostrophes, hyphens and points ("keeper's", "U.S", "3.5"); each Chinese,
    Japanese or Korean character is a word of its own.
    """
    return _WORD.findall(text)


def sentences(text: str) -> list[str]:
    """The sentences of a text that hold a word, in order, white space collapsed."""
    return [sentence for sentence in _split(text) if _WORD.search(sentence)]


def _split(text: str) -> Iterator[str]:
    for block in _BLOCK_END.split(_CJK_STOP.sub(r"\g<0>\n\n", text)):
        for part in _UNBROKEN.split(" ".join(block.split())):
            if _UNBROKEN.match(part):
                yield part
            else:
                yield from _PUNKT.texts(part, paragraph_breaks=False)


@dataclass(frozen=True, slots=True)
class Vectors:
    """TF-IDF vectors of length 1, one row per sentence, as coordinates of the non-zeros.

    ``rows``, ``columns`` and ``weights`` have shape (non-zeros,); ``shape`` is (sentences,
    terms). The matrix of similarities, X Xᵀ, has sentences² entries and is never formed:
    every product with it is two products with X, so time and memory stay linear.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    weights: Floats
    shape: tuple[int, int]

    @classmethod
    def of(cls, texts: list[list[str]]) -> Vectors:
        """Weigh words by TF x IDF, with the smoothed IDF ln((1 + n) / (1 + df)) + 1."""
        content = [[term for term in map(_term, text) if term not in STOP_WORDS] for text in texts]
        if not any(content):
            content = [[_term(word) for word in text] for text in texts]
        vocabulary: dict[str, int] = {}
        term_ids = [vocabulary.setdefault(t, len(vocabulary)) for text in content for t in text]
        n, m = len(content), len(vocabulary)
        row_ids = np.repeat(np.arange(n), [len(text) for text in content])
        cells, counts = np.unique(row_ids * m + np.array(term_ids), return_counts=True)
        rows, columns = np.divmod(cells, m)
        idf = np.log((1 + n) / (1 + np.bincount(columns, minlength=m))) + 1
        weights = counts * idf[columns]
        norms = np.sqrt(np.bincount(rows, weights**2, minlength=n))
        return cls(rows, columns, weights / norms[rows], (n, m))

    def cosines(self, i: int) -> Floats:
        """Cosine of every sentence with sentence ``i``, shape (sentences,)."""
        alone = np.zeros(self.shape[0])
        alone[i] = 1
        return self.similarity_to(alone)

    def similarity_to(self, mix: Floats) -> Floats:
        """X (Xᵀ mix): every sentence times a weighted sum of sentences, shape (sentences,)."""
        n, m = self.shape
        terms = np.bincount(self.columns, self.weights * mix[self.rows], minlength=m)
        return np.bincount(self.rows, self.weights * terms[self.columns], minlength=n)


_PLURAL = re.compile(r"(?<=\w\w[^us])s$")  # the last rule of Harman's S stemmer (1991)


def _term(word: str) -> str:
    return _PLURAL.sub("", word.replace("’", "'").casefold().removesuffix("'s"))


def rank(vectors: Vectors) -> Floats:
    """TextRank's score of every sentence, shape (sentences,), at most 1 on average.

    score = (1 - d) + d * S (score / degree), by power iteration, where S is the similarity
    without its diagonal and degree its row sums. A sentence like no other scores 1 - d.
    """
    n = vectors.shape[0]
    degree = vectors.similarity_to(np.ones(n)) - 1
    # Less than this is what floating point leaves of 1 - 1, not a neighbour.
    inverse = np.divide(1.0, degree, out=np.zeros(n), where=degree > 1e-9)
    scores = np.ones(n)
    for _ in range(MAX_ROUNDS):
        share = scores * inverse
        previous, scores = scores, 1 - DAMPING + DAMPING * (vectors.similarity_to(share) - share)
        if np.abs(scores - previous).max() < TOLERANCE:
            break
    return scores.round(DECIMALS)


def select(
    scores: Floats, vectors: Vectors, lengths: list[int], min_words: int, max_words: int
) -> dict[int, int]:
    """Choose sentences: {index: how many of its words to keep}, in the text's order.

    The best sentence is always in, cut if it must be. Others follow by score if they are
    above average (or scraps would fill the room that is left), fit whole and say something
    new. To reach ``min_words`` these rules are given up one after the other, in that order.
    """
    average = scores.mean().round(DECIMALS)
    closeness = np.zeros(len(lengths))  # highest cosine with a chosen sentence
    kept: dict[int, int] = {}
    room = max_words
    for rules_given_up in range(4):
        for i in np.argsort(-scores, kind="stable").tolist():
            if room <= 0 or (rules_given_up and max_words - room >= min_words):
                break
            good = scores[i] >= average
            whole = lengths[i] <= room or not kept
            new = closeness[i] <= DUPLICATE
            if i not in kept and all((good, whole, new)[rules_given_up:]):
                kept[i] = min(lengths[i], room)
                room -= kept[i]
                closeness = np.maximum(closeness, vectors.cosines(i))
    return dict(sorted(kept.items()))


def cut(sentence: str, length: int) -> str:
    """The first ``length`` words of a sentence, with an ellipsis if that is not all."""
    ends = [word.end() for word in _WORD.finditer(sentence)]
    return sentence if length >= len(ends) else f"{sentence[: ends[length - 1]]} …"


@dataclass(frozen=True, slots=True)
class TextRank:
    """The runtime of the embedded model; needs no files and holds no state.

    Args:
        max_length: Longest summary, in words, of a request that names no limit.
        min_length: Shortest summary, in words, as far as the text has that many.
    """

    max_length: int = 100
    min_length: int = 5
    version: ClassVar[str] = "1"

    def summarize(self, text: str, generation: Generation) -> Summary:
        """Summarize one text. It is read whole, whatever the strategy.

        A text without a single word ("!!!", an emoji) is its own summary, at most as many
        characters long as a summary may have words.
        """
        longest = self.max_length if generation.max_length is None else generation.max_length
        shortest = self.min_length if generation.min_length is None else generation.min_length
        found = sentences(text)
        if not found:
            return Summary(text.strip()[:longest], 0, 0, truncated=False)

        split = [words(sentence) for sentence in found]
        lengths = [len(sentence) for sentence in split]
        vectors = Vectors.of(split)
        stand_alone = np.array([LEANING if w[0].casefold() in OPENERS else 1.0 for w in split])
        kept = select(rank(vectors) * stand_alone, vectors, lengths, min(shortest, longest), longest)
        summary = " ".join(cut(found[i], length) for i, length in kept.items())
        return Summary(summary, sum(lengths), sum(kept.values()), truncated=False)


def identity() -> str:
    """The model's content hash, "sha256:<64 hex digits>": all that decides a score.

    The default lengths belong to the request and are left out.
    """
    content = {
        "algorithm": ["textrank", TextRank.version],
        "parameters": [DAMPING, TOLERANCE, MAX_ROUNDS, DECIMALS, DUPLICATE],
        "stop_words": sorted(STOP_WORDS),
    }
    return f"sha256:{hashlib.sha256(json.dumps(content).encode()).hexdigest()}"
