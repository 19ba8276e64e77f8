"""What a word is: one definition for summaries, measures and windows.

Combining marks, joiners and soft hyphens belong to the letter before them, though ``\\w``
leaves them out. Scripts without spaces between words have a word per letter.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

# Scripts without spaces between words: each character stands for itself.
SPACELESS = (
    "\u3005-\u3007\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    "\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff"  # Chinese, Japanese, Korean
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
)
INVISIBLE = "\u00ad\u200c\u200d"  # soft hyphen, joiners


def _ranges(categories: tuple[str, ...]) -> str:
    """The characters of these categories below the private planes, for a class in a pattern."""
    found: list[list[int]] = []
    for code in range(0x300, 0x1F000):
        if unicodedata.category(chr(code)) not in categories:
            continue
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in found)


MARKS = _ranges(("Mn", "Mc", "Me")) + "\U000e0100-\U000e01ef"  # the last: variation selectors
LETTER = rf"[^\W_{SPACELESS}]"
_TAIL = rf"[{MARKS}{INVISIBLE}]"
RUN = rf"(?:{LETTER}++{_TAIL}*+)++"  # letters, digits and their marks
# A letter that is a word, and what Burmese or Khmer stacks below it.
ALONE = rf"(?=\w)[{SPACELESS}](?:{_TAIL}|(?<=[\u1039\u17d2])[{SPACELESS}])*+"

_JOINT = r"(?:[-'’._]|(?<=\d),(?=\d))"  # well-known, keeper's, U.S, 3.5, 1,200
WORD = re.compile(rf"{ALONE}|{RUN}(?:{_JOINT}{RUN})*")

_IS_TAIL = re.compile(_TAIL)

_MOST_MARKS = 30  # on one letter, as in Unicode's Stream-Safe Text Format (UAX 15)
_HEAPED = re.compile(rf"[{MARKS}]{{{_MOST_MARKS + 1}}}")
_SHORT = re.compile(rf"[^{MARKS}]*[{MARKS}]{{0,{_MOST_MARKS}}}")


def is_tail(letter: str) -> bool:
    """Whether a character belongs to the one before it."""
    return bool(_IS_TAIL.match(letter))


def normalized(form: Literal["NFC", "NFD", "NFKC"], text: str) -> str:
    """A text in one of Unicode's forms, in a time that grows with the text alone.

    ``unicodedata`` sorts the marks on a letter in the square of their number; more than 30
    are taken in parts.
    """
    if text.isascii():
        return text
    if not _HEAPED.search(text):
        return unicodedata.normalize(form, text)
    return "".join(unicodedata.normalize(form, part) for part in _SHORT.findall(text))
