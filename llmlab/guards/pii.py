"""Numbers that belong to one person: those that can be told from all others, by check digits or
by what stands before them. Names and addresses cannot, and are no matter of a pattern.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from llmlab.guards.base import About, Finding, Guard
from llmlab.guards.checksums import luhn, mod_11_10, mod_97
from llmlab.guards.escapes import found_in, pending_in
from llmlab.guards.linear import compiled, plain

Span = tuple[int, int]
# What stands before a number that is no part of a longer one, or of a name. It is looked at after
# a match: a pattern that begins with a digit is looked for several times as fast.
_BEGINS = re.compile(r"(?<![\w.,/+-])(?<!\d )")

# --- cards -------------------------------------------------------------------------
# In groups as they are printed, or all in one. 13 digits are none any more: so has an EAN.
_CARD = re.compile(
    r"[0-9]{4}(?:([ -]?)[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{3})?|([ -]?)[0-9]{6}\2[0-9]{4,5})"
    r"(?![\w/-]|[.,][0-9]| [0-9])"
)
# First and last beginning, and the lengths that go with it. Maestro's are anybody's.
_ISSUERS = (
    ("4", "4", (16, 19)),  # Visa
    ("51", "55", (16,)), ("2221", "2720", (16,)),  # Mastercard
    ("34", "34", (15,)), ("37", "37", (15,)),  # American Express
    ("6011", "6011", (16, 19)), ("644", "649", (16, 19)), ("65", "65", (16, 19)),  # Discover
    ("3528", "3589", (16, 19)),  # JCB
    ("300", "305", (14, 16)), ("36", "36", (14,)), ("38", "39", (14, 16)),  # Diners Club
    ("62", "62", (16, 19)),  # UnionPay
)  # fmt: skip
# Of digits in one, Luhn's lets every tenth pass: so only the lengths and issuers of most cards.
_IN_ONE = {("4", 16), ("5", 16), ("2", 16), ("3", 15), ("6", 16)}


def _cards(text: str) -> Iterator[Span]:
    for match in _CARD.finditer(text):
        digits = re.sub(r"[ -]", "", match[0])
        if not _BEGINS.match(text, match.start()):
            continue
        if match[0] == digits and (digits[0], len(digits)) not in _IN_ONE:
            continue
        if _issued(digits) and len(set(digits)) > 1 and luhn(digits):
            yield match.span()


def _issued(digits: str) -> bool:
    return any(
        first <= digits[: len(first)] <= last and len(digits) in lengths
        for first, last, lengths in _ISSUERS
    )


# --- IBANs -------------------------------------------------------------------------
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}(?:([ -]?)[A-Z0-9]{4})(?:\1[A-Z0-9]{1,4}){2,8}")
# SWIFT's registry of IBANs: how many letters and digits they have, by country.
_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR",
        27: "BI DJ FR GR IT MC SM", 28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip


def _ibans(text: str) -> Iterator[Span]:
    for match in _IBAN.finditer(text):
        length = _LENGTHS.get(match[0][:2], 0)
        if match.start() and text[match.start() - 1].isalnum():
            continue
        end, count = match.start(), 0
        while end < match.end() and count < length:
            count += text[end].isalnum()
            end += 1
        whole = count == length and not text[end : end + 1].isalnum()
        if whole and mod_97(re.sub(r"[ -]", "", text[match.start() : end])):
            yield match.start(), end


# --- tax and social security -----------------------------------------------------------
_SSN = re.compile(
    r"[0-9]{3}(?<!000|666)(?<!9[0-9]{2})([ -])(?!00)[0-9]{2}\1(?!0000)[0-9]{4}(?![\w-])"
)
# It has no check digit, so somebody has to say that it is one, in the 64 characters before.
_SSN_NAMED = re.compile(r"(?i)\bSSN\b|social[ -]security|\bsoc\.? ?sec\b")
_NAMED_WITHIN = 64
_TAX_ID = re.compile(r"[1-9][0-9]( ?)[0-9]{3}\1[0-9]{3}\1[0-9]{3}(?![\w/-]|[.,][0-9]| [0-9])")


def _ssns(text: str) -> Iterator[Span]:
    for match in _SSN.finditer(text):
        if _BEGINS.match(text, match.start()) and _SSN_NAMED.search(
            text, max(0, match.start() - _NAMED_WITHIN), match.start()
        ):
            yield match.span()


def _tax_ids(text: str) -> Iterator[Span]:
    """Of Germany: of the first ten digits one is there twice or three times, all others once at
    most, and the last one checks them."""
    for match in _TAX_ID.finditer(text):
        digits = match[0].replace(" ", "")
        often = sorted(Counter(digits[:10]).values(), reverse=True)
        same = re.search(r"(\d)\1\1", digits[:10])
        unequal = often[0] in (2, 3) and often[1] == 1 and not same
        if unequal and mod_11_10(digits) and _BEGINS.match(text, match.start()):
            yield match.span()


# --- e-mail ------------------------------------------------------------------------
_EMAIL = re.compile(
    r"(?<![\w.+@%-])[A-Za-z0-9](?:[\w.+%-]{0,62}[\w+%-])?@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}"
    r"[A-Za-z0-9])?\.){1,6}[A-Za-z]{2,24}(?![\w-]|\.\w)", re.ASCII,
)  # fmt: skip
_LONGEST_EMAIL = 256


def _emails(text: str) -> Iterator[Span]:
    if "@" in text:
        for match in _EMAIL.finditer(text):
            if len(match[0]) < _LONGEST_EMAIL:
                yield match.span()


FINDERS: dict[str, Callable[[str], Iterator[Span]]] = {
    "card": _cards, "iban": _ibans, "us-ssn": _ssns, "de-tax-id": _tax_ids, "email": _emails,
}  # fmt: skip
# An e-mail address is often there on purpose: who wants it found says so.
DEFAULT = ("card", "iban", "us-ssn", "de-tax-id")
_NUMBERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ -"
_ADDRESS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_.+%-@"
# One of these is in every text that any of the numbers is in; by RE2.
_SIEVE = r"[0-9][0-9 -]{7}[0-9 -]*[0-9]|[A-Z]{2}[0-9]{2}[ -]?[A-Z0-9]{4}"
_LONGEST_NUMBER = 34 + 8 + 2  # an IBAN in groups, and what stands behind it


class Pii(Guard):
    """
    Args:
        find: labels; ``DEFAULT`` if there are none.

    Raises:
        ValueError: there is no such label.
    """

    longest, context, step, quick = _LONGEST_EMAIL + 1, _NAMED_WITHIN + 2, 1, True

    def __init__(self, find: Sequence[str] = ()) -> None:
        for one in find:
            if one not in FINDERS:
                raise ValueError(f"find: there is no format {one!r}, only {', '.join(FINDERS)}")
        self.labels = tuple(find) or DEFAULT
        self._any = compiled(_SIEVE)

    def find(self, text: str, about: About) -> Iterable[Finding]:
        return found_in(text, self._found)

    def _found(self, text: str) -> list[Finding]:
        numbers = bool(self._any.search(plain(text)))
        return [
            Finding(start, end, label)
            for label in self.labels
            if numbers or label == "email"
            for start, end in FINDERS[label](text)
        ]

    def pending(self, text: str) -> int:
        return pending_in(text, self._pending)

    def _pending(self, text: str) -> int:
        """Where the last run begins of what numbers, or addresses, are made of."""
        newest = text[-_LONGEST_NUMBER:]
        start = len(text) - len(newest) + len(newest.rstrip(_NUMBERS))
        if "email" in self.labels:
            newest = text[-_LONGEST_EMAIL:]
            start = min(start, len(text) - len(newest) + len(newest.rstrip(_ADDRESS)))
        return start
