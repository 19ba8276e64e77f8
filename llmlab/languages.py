"""Which language a short text is in, by its letters (py3langid, a naive Bayes classifier).

It is a guess, and a poor one of a word or two. So only languages that many people write are
taken for possible, and the one that is asked about; where no letter tells anything, there is no
guess.
"""

from __future__ import annotations

from functools import cache

_COMMON = """
ar bg bn ca cs da de el en es et fa fi fr he hi hr hu id it ja ko lt lv ms nl no pl pt ro ru sk sl
sr sv sw ta th tr uk ur vi zh
"""
COMMON = frozenset(_COMMON.split())
LONGEST = 2000  # characters; further ones change nothing but the time that it takes
NOTHING = -1e30  # a score below which no letter told anything


def guess(text: str, among: str) -> str:
    """The language of a text as its ISO 639-1 code; "" where nothing tells.

    Args:
        among: one that is possible beside the common ones.
    """
    from py3langid import rank

    for code, score in rank(text[:LONGEST]):
        if score < NOTHING:
            return ""
        if code in COMMON or code == among:
            return str(code)
    return ""


def scores(text: str) -> dict[str, float]:
    """How likely each of the common languages is, as py3langid's logarithms; the more letters,
    the further apart."""
    from py3langid import rank

    return {code: float(score) for code, score in rank(text[:LONGEST]) if code in COMMON}


@cache
def known() -> frozenset[str]:
    """The codes of all languages that can be told."""
    from py3langid import rank

    return frozenset(str(code) for code, _ in rank("any text"))
