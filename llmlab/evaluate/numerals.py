"""How numbers are written, and which of them are the same."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from fractions import Fraction

_BELOW_TWENTY = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen
"""
_BELOW_HUNDRED = "twenty thirty forty fifty sixty seventy eighty ninety"
_ORDINALS = """
first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth
fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth
"""
_ROUND_ORDINALS = "twentieth thirtieth fortieth fiftieth sixtieth seventieth eightieth ninetieth"
_UNITS, _TENS = _BELOW_TWENTY.split(), _BELOW_HUNDRED.split()
_NTH, _ROUND_NTH = _ORDINALS.split(), _ROUND_ORDINALS.split()
_VALUES = {
    **{word: value for value, word in enumerate(_UNITS)},
    **{word: 10 * value for value, word in enumerate(_TENS, start=2)},
    **{word: value for value, word in enumerate(_NTH, start=1)},
    **{word: 10 * value for value, word in enumerate(_ROUND_NTH, start=2)},
}
_MILLIONS, _BILLIONS = "lakh|million|crore", "billion|trillion"
_GREAT = {"thousand": 3, "lakh": 5, "million": 6, "crore": 7, "billion": 9, "trillion": 12}
_SHORT = {"mn": 6, "mln": 6, "mio": 6, "bn": 9, "mrd": 9, "bln": 9, "tn": 12}
_LETTERS = {"k": 3, "m": 6, "b": 9, "t": 12}
_POWERS = _GREAT | _SHORT | _LETTERS | {"hundred": 2}

WORDS = frozenset({*_VALUES, *_GREAT, "hundred"})  # what numbers in words are made of

_SPACES = " \u00a0\u2009\u202f"
_CURRENCY = "".join(
    chr(code) for code in range(0x24, 0x10000) if unicodedata.category(chr(code)) == "Sc"
)
_VULGAR = {  # "½" -> (1, 2)
    one: (int(top), int(bottom))
    for one in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"
    for top, bottom in [unicodedata.normalize("NFKC", one).split("\u2044")]
}
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_LOWERED = str.maketrans(_RAISED + "⁻⁺−", "0123456789-+-")


def numeral(letter: str) -> str:
    """The pattern of a number as it is written, for ``value`` to read.

    It is to be used without regard to case, and at most once in a pattern: it has groups with
    names. Its time grows with the text and not faster.

    Args:
        letter: The pattern of one letter or digit. A number does not begin behind one ("F5"),
            though one may follow: "100km" is 100 with "km" behind it, as in "100 km".
    """
    return rf"(?<!{letter})(?:{_clock()}|{_fraction()}|{_in_digits()}|{_in_words()})"


def _clock() -> str:
    return (
        r"(?P<clock>(?<!:)\d{1,2}:\d\d(?::\d\d)?(?![:\d])"
        r"|\d{1,2}\.\d\d(?=\s?[ap]\.?m\b))"
    )


def _fraction() -> str:
    plain = "|".join(f"{top}[/\u2044]{bottom}" for top, bottom in _VULGAR.values())
    return (
        rf"(?:(?P<whole>\d{{1,3}})(?:[{_SPACES}-](?=\d[/\u2044])|[{_SPACES}]?(?=[{''.join(_VULGAR)}])))?"
        rf"(?<![/\u2044])(?P<part>[{''.join(_VULGAR)}]|(?:{plain})(?![/\u2044]|[.,]?\d)\b)"
        rf"(?P<part_scale>{_scale()})"
    )


def _in_digits() -> str:
    grouped = "|".join(
        rf"(?!0)\d{{1,3}}(?:{mark}\d{{3}})+(?!\d)(?:[.,]\d+)?"
        for mark in (f"[{_SPACES}]", "['’]", "_")
    )
    digits = rf"(?>{grouped}|\d+(?:[.,]\d+)*|(?<!\.)\.\d+)"
    ten = rf"10(?:\^[-+−]?\d{{1,2}}|[⁻⁺]?[{_RAISED}]{{1,2}})(?![\d{_RAISED}])"
    currency = rf"(?:[{_CURRENCY}]|(?:dollars|euros?|pounds|usd|eur|gbp)\b)"
    sign = f"[{_CURRENCY}]"
    # The m of "$2–3m" is a million, too.
    paid = [sign, rf"{sign}\s", r"(?:usd|eur|gbp)\s"]
    paid += [rf"{sign}{lower}[-–]" for lower in (r"\d", r"\d\d", r"\d\d\d", r"\d[.,]\d")]
    upper = r"(?P<upper>\d{1,4}(?:[.,]\d{1,3})?)"
    shared = rf"(?P<shared>(?(money)\s?[kmbt]\b|(?!))|(?-i:[kKMB])\b|{_scale()})"
    return (
        # "95" of "1990-95", but not the month of a date.
        r"(?:(?<=(?<!\d)(?P<since>[12]\d\d\d)[-–/])(?P<until>\d\d)(?![-–/.,]?\d)"
        r"|(?<=['’‘])(?P<decade>\d0)s\b"
        rf"|(?:(?P<money>{'|'.join(f'(?<={one})' for one in paid)})|)"
        rf"(?:(?P<ten>{ten})|(?P<digits>{digits})"
        rf"(?:(?P<exponent>e[-+]?\d{{1,2}}\b|\s?[×x*·⋅]\s?{ten})"
        rf"|(?:st|nd|rd|th|['’]?s)\b"
        rf"|(?P<scale>(?(money)[-\s]?[kmbt]\b|(?!))"
        rf"|[-\s]?[kmbt]\b(?=\s?{currency})|(?-i:[kKMB])\b|{_scale()})"
        # "10-15 million": both are millions.
        rf"(?=(?:[-–]|\sto\s){upper}{shared}|)"
        rf"[{_RAISED}]*"
        "))"
        ")"
    )


def _scale() -> str:
    """Of a number in digits: "million", "hundred thousand", "bn"; or nothing."""
    return (
        rf"(?:[-\s]{{0,2}}(?:{'|'.join(_SHORT)})\b"
        rf"|(?:[-\s]{{0,2}}(?:hundred|{'|'.join(_GREAT)})s?\b){{0,3}})"
    )


def _in_words() -> str:
    gap = r"[-\s]{1,2}"
    hundred, dozen, thousand = (rf"{gap}{word}s?\b" for word in ("hundred", "dozen", "thousand"))
    million, billion = (rf"{gap}(?:{names})s?\b" for names in (_MILLIONS, _BILLIONS))
    great = f"(?:{thousand}|{million}|{billion})"
    small = (
        rf"(?>(?:{'|'.join(_TENS)})"
        rf"(?:-(?:{'|'.join(_NTH[:9])})\b|{gap}(?:{'|'.join(_UNITS[1:10])})\b|\b)"
        rf"|(?:{'|'.join((*_UNITS, *_ROUND_NTH, *_NTH[:1], *_NTH[2:]))})\b"
        # The time is no number: "a second", "per second", "30-second".
        r"|(?<![-\d])(?<!\d\s)(?<!\ba\s)(?<!\bper\s)(?<!\bone\s)(?<!each\s)(?<!every\s)"
        rf"second\b)"
    )
    counted = (
        rf"(?>(?:{small}|an?){hundred}"
        # "between one hundred and two hundred" are two.
        rf"(?:{gap}(?:and{gap})?{small}(?!{hundred}))?"
        rf"|{small}(?:{gap}and{gap}a{gap}half\b)?)"
    )
    return (
        rf"(?P<words>(?=[aefhnostz])(?>(?:half{gap}an?|{small}|an?){dozen}|half{gap}an?{great}"
        rf"|(?:{counted}|an?(?={great}))"
        # From great to small, so that two numbers side by side are not one.
        rf"(?:(?:{thousand}(?:{million}|{billion})?"
        rf"|{billion}(?:{gap}{counted}{million})?(?:{gap}{counted}{thousand})?"
        rf"|{million}(?:{gap}{counted}{thousand})?)"
        rf"(?:{gap}(?:and{gap})?{counted}(?!{hundred}|{great}))?)?"
        rf")(?:['’]s\b)?)"
    )


_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")  # 1,234,567.8
_INDIAN = re.compile(r"\d{1,2}(?:,\d{2})*,\d{3}(?:\.\d+)?")  # 12,34,567
_POINTED = re.compile(r"\d{1,3}(?:\.\d{3}){2,}(?:,\d+)?")  # 1.234.567,8
_DECIMAL = re.compile(r"\d*(?:[.,]\d+)?")
_EXPONENT = re.compile(r"(?:e|10\^?)([-+]?)(\d+)$", re.IGNORECASE)
_WORD = re.compile("[a-z]+")


def value(found: re.Match[str]) -> str:
    """The value of what ``numeral`` matched, as plain decimal digits.

    What is the same:

    - "1,996", "1996" and "1 996"; "1'500'000", "1_500_000" and "1 500 000": groups of three
      (or Indian groups) after commas, apostrophes, underscores or spaces, or two and more
      groups after points. Two numbers side by side that look like groups are one.
    - Any other single comma or point is decimal: "3,5" is "3.5"; "1.200" is "1.2"; ".5" "0.5".
    - "1.5 million", "1,500,000", "1.5mn", "1.5M" and "1½ million"; "10-15 million" and "10 to 15
      million" are 10 million and 15 million, but "from 500 to 2 million" are not. "k", "K", "M"
      and "B" that stand close behind digits are thousand, million and billion ("7B"); "m", "b"
      and "t" only beside a currency ("$5m", "5m dollars"): 5m, 5 m and 5 M are metres, or
      something else.
    - "21st", "21" and "twenty-first"; "1990s", "1990's", "'90s" and "1990"; "05" and "5". In
      "1990-95" the second is 1995 ("2009-12" as well, which may have been a month; "2019-12" is
      one).
    - "twenty-three" and "23", "two hundred and five thousand" and "205,000", "a million",
      "half a million", "a dozen". "second" is 2 where it does not look like the time; "half"
      and "quarter" alone are no numbers, nor are "hundreds" and "a few thousand".
    - "½", "1/2" and "0.5"; thirds and the like are "1/3". "9/11" and "24/7" are two numbers.
    - "10²", "10^2" and "100"; "1e6" and "1 × 10⁶". A raised digit behind anything but 10 is the
      mark of a note: "1996²" is 1996.
    - "9:00", "09:00" and "9"; "9:30" and "9.30 pm" are "9:30", whichever half of the day.

    What is none of these ("1.31.3", "10,20") stays as it is written. Signs are left out: who
    falls by 5 and who is at -5 says 5.
    """
    if clock := _plain(found["clock"]):
        hours, *rest = clock.replace(".", ":").split(":")
        return ":".join([str(int(hours)), *rest]) if rest != ["00"] else str(int(hours))
    if found["words"]:
        return _text(_spelt(found["words"].lower()))
    if found["part"]:
        top, bottom = _VULGAR.get(found["part"]) or map(int, re.split("[/\u2044]", found["part"]))
        number = int(found["whole"] or 0) + Fraction(top, bottom)
        return _text(number * 10 ** _power(found["part_scale"]))
    if found["until"]:
        century, year = found["since"][:2], found["until"]
        later = int(year) > int(found["since"][2:])
        return _plain(century + year) if later else str(int(year))
    if found["ten"]:
        return _shifted("1", "", _raised(found["ten"]))
    if found["decade"]:
        decade = int(found["decade"])
        return str(decade + (1900 if decade >= 20 else 2000))
    digits = _plain(found["digits"])
    if found["exponent"]:
        return _of_digits(digits, _raised(found["exponent"]))
    if found["shared"] and not found["scale"] and _below(digits, _plain(found["upper"])):
        return _of_digits(digits, _power(found["shared"]))
    return _of_digits(digits, _power(found["scale"]))


def _below(lower: str, upper: str) -> bool:
    """Whether two numbers are those of a range: "10 to 15", not "from 500 to 2"."""
    ends = [_of_digits(end, 0) for end in (lower, upper)]
    return all(map(_DECIMAL.fullmatch, ends)) and Decimal(ends[0]) < Decimal(ends[1])


def _of_digits(digits: str, exponent: int) -> str:
    digits = re.sub(rf"[{_SPACES}'’_]", "", digits)
    if _GROUPED.fullmatch(digits) or _INDIAN.fullmatch(digits):
        digits = digits.replace(",", "")
    elif _POINTED.fullmatch(digits):
        digits = digits.replace(".", "").replace(",", ".")
    elif _DECIMAL.fullmatch(digits):
        digits = digits.replace(",", ".")
    else:
        return digits
    whole, _, fraction = digits.partition(".")
    return _shifted(whole, fraction, exponent)


def _plain(written: str | None) -> str:
    """The digits of any script as 0 to 9."""
    if not written or written.isascii():
        return written or ""
    return "".join(
        str(unicodedata.decimal(letter)) if letter.isdecimal() else letter for letter in written
    )


def _power(scale: str | None) -> int:
    words = _WORD.findall((scale or "").lower())
    return sum(_POWERS.get(word) or _POWERS.get(word.removesuffix("s"), 0) for word in words)


def _raised(written: str) -> int:
    """The exponent of "e6", "10^6", "× 10⁶"."""
    sign, digits = _EXPONENT.findall(written.translate(_LOWERED))[0]
    return int(sign + digits)


def _spelt(written: str) -> Fraction:
    whole = part = Fraction(0)
    if re.match(r"an?\b", written):
        part = Fraction(1)
    for word in _WORD.findall(written):
        great = _GREAT.get(word) or _GREAT.get(word.removesuffix("s"))
        if great:
            whole, part = (
                (whole + part * 10**great, Fraction(0)) if part else (whole * 10**great, part)
            )
        elif word == "hundred":
            part *= 100
        elif word == "dozen":
            part *= 12
        elif word == "half":
            part += Fraction(1, 2)
        elif word in _VALUES:
            part += _VALUES[word]
    return whole + part


def _text(number: Fraction) -> str:
    for places in range(4):  # eighths have three
        if 10**places % number.denominator == 0:
            digits = str(number.numerator * 10**places // number.denominator)
            return _shifted(digits, "", -places)
    return f"{number.numerator}/{number.denominator}"


def _shifted(whole: str, fraction: str, exponent: int) -> str:
    """Move the point right; text, because a number may have thousands of digits."""
    if exponent < 0:
        whole = whole.rjust(1 - exponent, "0")
        whole, fraction, exponent = whole[:exponent], whole[exponent:] + fraction, 0
    fraction = fraction.ljust(exponent, "0")
    whole, fraction = whole + fraction[:exponent], fraction[exponent:].rstrip("0")
    whole = whole.lstrip("0") or "0"
    return f"{whole}.{fraction}" if fraction else whole
