"""Words, terms and sentences: what the measures count and compare.

*Words* are for lengths and n-grams. *Terms* are for facts: canonical, so that "1,500,000" and
"1.5 million", or "François" and "Francois", are the same. ROUGE has its own tokens (``rouge``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from llmlab.evaluate.numerals import numeral, value
from llmlab.hyphens import Mended, mended
from llmlab.runtimes.extractive import sentences
from llmlab.words import ALONE, INVISIBLE, LETTER, RUN, WORD, normalized

__all__ = [
    "RUN", "Term", "contains", "fold", "key", "locate", "readings", "sentences", "terms", "words",
]  # fmt: skip

_TERM = re.compile(
    rf"(?P<number>{numeral(LETTER)})"
    r"|(?P<percent>[%％٪]|\b(?:per[ \u00a0]?cent|pct)\b)"
    rf"|(?P<letters>{LETTER}(?:\.{LETTER})+(?!{LETTER})\.?)"  # U.S., e.g.
    rf"|(?P<word>{ALONE}|{RUN})(?:['’]s(?!{LETTER}))?",
    re.IGNORECASE,
)
_ACCENTS = re.compile("[\u0300-\u036f]")
_UNSEEN = re.compile(f"[{INVISIBLE}]")


def words(text: str) -> list[str]:
    """The words of a text in order, without regard to case, width and kind of apostrophe."""
    return [fold(found[0]) for found in WORD.finditer(normalized("NFC", mended(text).text))]


def fold(word: str) -> str:
    """A word as it is compared: Unicode NFKC, case folded, straight apostrophes."""
    word = _UNSEEN.sub("", word).replace("’", "'")
    return normalized("NFKC", normalized("NFKC", word).casefold())


@dataclass(frozen=True, slots=True)
class Term:
    """A canonical word or number, and where it stands: ``text[start:end]``."""

    key: str
    start: int
    end: int
    number: bool = False


def terms(text: str) -> Iterator[Term]:
    """The terms of a text in order.

    A word loses case, accents, a possessive 's and the points of an abbreviation; hyphens,
    slashes and all other punctuation separate terms. A number is its value
    (``numerals.value``), with thousand, million, ... and whatever the notation; "%",
    "percent" and "per cent" are one term; currency signs are none.
    """
    return _terms(Mended(text))


def readings(text: str) -> list[list[Term]]:
    """A text's terms as it is written and, where ends of lines broke words, as it reads: "a
    load-", "balancer" is two words or "Seat-", "tle" is one."""
    joined = mended(text)
    return [list(_terms(one)) for one in ([Mended(text), joined] if joined.starts else [joined])]


def _terms(reading: Mended) -> Iterator[Term]:
    for found in _TERM.finditer(reading.text):
        kind = found.lastgroup
        start, end = reading.origin(found.start()), reading.origin_of_end(found.end())
        if kind == "number":
            yield Term(value(found), start, end, number=True)
        elif kind == "percent":
            yield Term("%", start, end)
        else:
            word = found["word"] or found[0].replace(".", "")
            yield Term(key(word), start, end)


def key(word: str) -> str:
    """A word as facts compare it: folded, and without accents."""
    folded = fold(word)
    if folded.isascii():
        return folded
    return normalized("NFC", _ACCENTS.sub("", normalized("NFD", folded)))


def locate(needle: list[str], haystack: list[Term]) -> tuple[int, int] | None:
    """Where a run of keys first occurs in a text's terms: (start, end) in characters."""
    if not needle:
        return None
    first, size = needle[0], len(needle)
    for at, term in enumerate(haystack):
        if term.key == first and [one.key for one in haystack[at : at + size]] == needle:
            return haystack[at].start, haystack[at + size - 1].end
    return None


def contains(text: str, phrase: str) -> bool:
    """Whether a phrase occurs in a text, term by term."""
    keys = [term.key for term in terms(phrase)]
    return any(locate(keys, held) for held in readings(text))
