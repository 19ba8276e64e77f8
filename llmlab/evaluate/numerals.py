"""How numbers are written, and which of them are the same."""

from __future__ import annotations

import re
import unicodedata

_BELOW_TWENTY = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen
"""
_BELOW_HUNDRED = "twenty thirty forty fifty sixty seventy eighty ninety"
_UNITS, _TENS = _BELOW_TWENTY.split(), _BELOW_HUNDRED.split()
_VALUES = {word: value for value, word in enumerate(_UNITS)} | {
    word: 10 * value for value, word in enumerate(_TENS, start=2)
}
_POWERS = {
    "hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12,
    "mn": 6, "bn": 9, "tn": 12, "m": 6, "k": 3,
}  # fmt: skip

_DIGITS = r"\d+(?:[.,\u00a0\u202f\u2009]\d+)*"
_LONG_POWER = r"(?:hundred|thousand|million|billion|trillion)(?![^\W_])"
_SPELT = (
    rf"(?:(?:{'|'.join(_TENS)})(?:[- ](?:{'|'.join(_UNITS[1:10])}))?|{'|'.join(_UNITS)})"
    r"(?![^\W_])"
)
# A number that is not the end of a word ("F5"), with its power of ten. "m" and "k" are
# million and thousand only behind a currency sign: 5m may be metres.
NUMERAL = (
    r"(?<![^\W_])(?:"
    rf"(?<=[$€£¥])(?:{_DIGITS})[mk](?![^\W_])"
    rf"|(?:{_DIGITS})(?:st|nd|rd|th|s)?(?![^\W\d_])(?:[-\s]{{1,2}}{_LONG_POWER})*"
    rf"|(?:{_DIGITS})(?:mn|bn|tn)(?![^\W_])"
    rf"|(?:{_DIGITS})"
    rf"|{_SPELT}(?:[-\s]{{1,2}}{_LONG_POWER})*"
    r")"
)
_PART = re.compile(rf"(?P<digits>{_DIGITS})|(?P<word>[a-z]+)", re.IGNORECASE)

_GROUPED = re.compile(r"\d{1,3}(?:[,\u00a0\u202f\u2009]\d{3})+(?:\.\d+)?")  # 1,234,567.8
_INDIAN = re.compile(r"\d{1,2}(?:,\d{2})*,\d{3}(?:\.\d+)?")  # 12,34,567
_POINTED = re.compile(r"\d{1,3}(?:\.\d{3}){2,}(?:,\d+)?")  # 1.234.567,8
_DECIMAL = re.compile(r"\d+(?:[.,]\d+)?")


def canonical_number(written: str) -> str:
    """The value of what ``NUMERAL`` matched, as plain decimal digits.

    - "1,996", "1996" and "1 996" (narrow space) are "1996": groups of three (or Indian
      groups) after commas or special spaces, or two and more groups after points.
    - Any other single comma or point is decimal: "3,5" is "3.5"; "1.200" is "1.2".
    - "1.5 million", "1,500,000" and "1.5mn" are the same; so are "21st" and "21", "1990s"
      and "1990", "twenty-three" and "23", "05" and "5".
    - What is none of these ("1.31.3", "10,20") stays as it is written.
    """
    plain = "".join(
        str(unicodedata.decimal(letter)) if letter.isdecimal() else letter for letter in written
    )
    parts = list(_PART.finditer(plain.lower()))
    exponent = sum(_POWERS.get(part[0], 0) for part in parts if part["word"])
    if not parts[0]["digits"]:
        return _shifted(str(sum(_VALUES.get(part[0], 0) for part in parts)), "", exponent)
    digits = parts[0][0]
    if _GROUPED.fullmatch(digits) or _INDIAN.fullmatch(digits):
        digits = re.sub(r"[^\d.]", "", digits)
    elif _POINTED.fullmatch(digits):
        digits = digits.replace(".", "").replace(",", ".")
    elif _DECIMAL.fullmatch(digits):
        digits = digits.replace(",", ".")
    else:
        return digits
    whole, _, fraction = digits.partition(".")
    return _shifted(whole, fraction, exponent)


def _shifted(whole: str, fraction: str, exponent: int) -> str:
    """Move the point right; text, because a number may have thousands of digits."""
    fraction = fraction.ljust(exponent, "0")
    whole, fraction = whole + fraction[:exponent], fraction[exponent:].rstrip("0")
    whole = whole.lstrip("0") or "0"
    return f"{whole}.{fraction}" if fraction else whole
