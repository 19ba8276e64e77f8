"""Words, terms and sentences: what the measures count and compare.

*Words* are for lengths and n-grams. *Terms* are for facts: canonical, so that "1,500,000" and
"1.5 million", or "François" and "Francois", are the same. ROUGE has its own tokens (``rouge``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from llmlab.evaluate.numerals import numeral, value
from llmlab.runtimes.extractive import sentences

__all__ = ["Term", "contains", "fold", "key", "locate", "sentences", "terms", "words"]

# Scripts without spaces between words: each character stands for itself.
SPACELESS = (
    "\u3005-\u3007\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    "\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff"  # Chinese, Japanese, Korean
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
)
# Vowel signs and accents are not \w, yet they do not end a word; nor do joiners or soft hyphens.
_MARKS = "".join(
    chr(code) for code in range(0x300, 0x10000) if unicodedata.category(chr(code)) in ("Mn", "Mc")
)
_INVISIBLE = "\u00ad\u200c\u200d"
LETTER = rf"[^\W_{SPACELESS}]"
RUN = rf"{LETTER}(?:{LETTER}|[{_MARKS}{_INVISIBLE}])*"  # letters, digits and their marks

_JOINT = r"(?:[-'’._]|(?<=\d),(?=\d))"  # well-known, keeper's, U.S, 3.5, 1,200
_WORD = re.compile(rf"[{SPACELESS}]|{RUN}(?:{_JOINT}{RUN})*")

_TERM = re.compile(
    rf"(?P<number>{numeral(LETTER)})"
    r"|(?P<percent>[%％٪]|\b(?:per[ \u00a0]?cent|pct)\b)"
    rf"|(?P<letters>{LETTER}(?:\.{LETTER})+(?!{LETTER})\.?)"  # U.S., e.g.
    rf"|(?P<word>[{SPACELESS}]|{RUN})(?:['’]s(?!{LETTER}))?",
    re.IGNORECASE,
)
_ACCENTS = re.compile("[\u0300-\u036f]")
_UNSEEN = re.compile(f"[{_INVISIBLE}]")


def words(text: str) -> list[str]:
    """The words of a text in order, without regard to case, width and kind of apostrophe."""
    return [fold(found[0]) for found in _WORD.finditer(text)]


def fold(word: str) -> str:
    """A word as it is compared: Unicode NFKC, case folded, straight apostrophes."""
    word = _UNSEEN.sub("", word).replace("’", "'")
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", word).casefold())


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
    for found in _TERM.finditer(text):
        kind = found.lastgroup
        if kind == "number":
            yield Term(value(found), found.start(), found.end(), number=True)
        elif kind == "percent":
            yield Term("%", found.start(), found.end())
        else:
            word = found["word"] or found[0].replace(".", "")
            yield Term(key(word), found.start(), found.end())


def key(word: str) -> str:
    """A word as facts compare it: folded, and without accents."""
    folded = fold(word)
    if folded.isascii():
        return folded
    bare = _ACCENTS.sub("", unicodedata.normalize("NFD", folded))
    return unicodedata.normalize("NFC", bare)


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
    return locate([term.key for term in terms(phrase)], list(terms(text))) is not None
