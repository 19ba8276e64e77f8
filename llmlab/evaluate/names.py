"""Names in a text by their capitals: a proxy, made for English.

No list of names and no model: a name is a run of capitalised words ("Simon van der Meer",
"NASDAQ", "iPhone", "F5"; "Bank of England" is two). The first word of a sentence is capitalised
anyway, so it needs evidence. Scripts without capitals have no names here, and in languages
that capitalise nouns every noun is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import dropwhile

from llmlab.evaluate import numerals
from llmlab.evaluate.text import RUN, key
from llmlab.runtimes.extractive import STOP_WORDS

_WORD = re.compile(rf"{RUN}(?:[-'’&./]{RUN})*")
_JOINT = re.compile(r"[-'’&./]")
_POSSESSIVE = re.compile(r"['’]s?$", re.IGNORECASE)
_PARTICLES = "de la del der den di da du van von bin ibn al"
_INSIDE = frozenset(_PARTICLES.split())
_SHORTENED = "mr mrs ms dr prof st mt sen gov rep gen lt col capt sgt rev hon"
_TITLES = frozenset(_SHORTENED.split())
_COMPANY = "inc ltd llc plc corp gmbh"
_LEGAL_FORMS = frozenset(_COMPANY.split())

_MONTHS = """
january february march april may june july august september october november december
"""
_DAYS = "monday tuesday wednesday thursday friday saturday sunday"
_DATES = frozenset([*_MONTHS.split(), *_DAYS.split()])
_SHORT_DATES = {"sept": "september"} | {word[:3]: word for word in _DATES}
# Behind a number they are what is measured in, in "10 GB" as in "10GB".
_MEASURED = """
B kB KB MB GB TB PB KiB MiB GiB TiB Mb Gb Mbit Gbit Mbps Gbps Hz kHz MHz GHz THz W kW MW GW TW Wh
kWh MWh GWh TWh V kV Ah mAh N kN Pa hPa kPa MPa J kJ MJ dB dBm USD EUR GBP JPY CHF CNY
"""
_UNITS = frozenset(_MEASURED.split())
_SENTENCE_END = re.compile(r"[.!?:;…\n•\"“”«»‘(\[]")

_COMMON_WORDS = """
according although amid analysts anyone besides born built critics customers despite doctors
during earlier early engineers even every everyone experts families few first fishermen five
following founded four half however hundreds instead last late later least less like local many
meanwhile men millions more much nearly neighbours neither nevertheless new next nobody none
nothing now often once ordinary others owners parents patients people perhaps police prices
prosecutors rather recent recently rescuers residents sales scientists second several similarly
six sometimes soon staff still students ten third thirty thousands three today together tomorrow
twelve twenty two unless unlike until usually villagers voters water whatever whenever whether
women work years yesterday yet young
"""
_OPENERS = frozenset(_COMMON_WORDS.split())  # they often open a sentence, and are no name
_COMMON_ENDINGS = ("ing", "ly", "ers", "ors", "ists", "ments", "tions", "ants", "ees", "ness")


@dataclass(frozen=True, slots=True)
class Name:
    """A name and where it stands: ``text[start:end]``.

    Args:
        words: What names are compared by: its words (``text.key``) without a possessive 's,
            with a hyphen for a slash ("BIG/ip" is "BIG-IP") and without titles ("Dr.").
        sure: Whether its capitals mean that it is a name. If not, it is a month or a day, or a
            single word that opens a sentence and seems to be no common one.
    """

    words: tuple[str, ...]
    start: int
    end: int
    sure: bool = True


@dataclass(frozen=True, slots=True)
class _Token:
    raw: str
    start: int
    end: int
    opens: bool  # the first word of a sentence, a quotation, a line

    @property
    def bare(self) -> str:
        return _POSSESSIVE.sub("", self.raw)

    @property
    def initial(self) -> bool:
        """One letter, or some with points: "S.", "J.S."."""
        return self.capital and all(len(part) == 1 for part in self.raw.split("."))

    @property
    def numeral(self) -> bool:
        return all(part in numerals.WORDS for part in self.bare.casefold().split("-"))

    @property
    def capital(self) -> bool:
        return not self.raw[0].isdecimal() and any(letter.isupper() for letter in self.bare)

    @property
    def marked(self) -> bool:
        """Capitals or digits beyond the first letter: BIG-IP, McAdam, iPhone, F5."""
        inner = self.bare[1:]
        return self.capital and any(one.isupper() or one.isdecimal() for one in inner)


def names(text: str) -> list[Name]:
    """The names in a text, in order. A text without a lower-case letter has none.

    "Jeffrey S. Hussey" is one, "Apple Inc." is "Apple". "Ten" is a number, and "BIG" a word
    that is stressed where the text has "big" as well ("US" is not "us", though).
    """
    if text == text.upper():
        return []
    tokens = list(_tokens(text))
    proven = {token.bare for token in tokens if token.capital and not token.opens}
    plain = {token.bare for token in tokens if not token.capital} - STOP_WORDS
    found = (_trimmed(run, proven, plain) for run in _runs(tokens, text))
    return [name for name in found if name]


def _tokens(text: str) -> Iterator[_Token]:
    before, end = "", 0
    for match in _WORD.finditer(text):
        gap = text[end : match.start()]
        if before[-1:].isdecimal() and not gap.strip(" \u00a0") and match[0] in _UNITS:
            before, end = match[0], match.end()
            continue
        shortened = len(before) == 1 or "." in before or before.casefold() in _TITLES
        opens = not before or bool(_SENTENCE_END.search(gap.lstrip(".") if shortened else gap))
        yield _Token(match[0], match.start(), match.end(), opens)
        before, end = match[0], match.end()


def _runs(tokens: list[_Token], text: str) -> Iterator[list[_Token]]:
    """Neighbouring capitalised words, with "van der" and the like between them."""
    run: list[_Token] = []
    waiting: list[_Token] = []
    for token in tokens:
        so_far = waiting or run
        joined = bool(so_far) and not token.opens
        joined = joined and _is_plain(text[so_far[-1].end : token.start])
        # "Anna's Oslo" is two names.
        joined = joined and (bool(waiting) or bool(run and run[-1].bare == run[-1].raw))
        if run and not joined:
            yield run
            run, waiting = [], []
        if token.capital:
            run += [*waiting, token] if run else [token]
            waiting = []
        elif run and token.raw in _INSIDE and len(waiting) < 2:
            waiting.append(token)
        elif run:
            yield run
            run, waiting = [], []
    if run:
        yield run


def _is_plain(gap: str) -> bool:
    return gap in (" ", ". ", "\u00a0", "\n")


def _trimmed(run: list[_Token], proven: set[str], plain: set[str]) -> Name | None:
    """A run without the words whose capital means nothing."""
    while run and _is_function_word(run[0]):
        run = _from_capital(run[1:])
    while run and run[-1].bare.casefold() in _LEGAL_FORMS:
        run = run[:-1]
    if all(token.numeral or _is_stressed(token, plain) for token in run):
        return None
    first, sure = run[0], True
    if first.opens and not first.marked and first.bare not in proven:
        common = _is_common(first.bare.casefold())
        if len(run) == 1:
            if common:
                return None
            sure = False
        elif not first.initial and (common or (run[1].capital and not run[1].initial)):
            # "Yesterday Microsoft"; but "Ludwig van Dyck" and "Jeffrey S. Hussey" are whole
            run = _from_capital(run[1:])
    words = [key(token.bare).replace("/", "-") for token in run]
    untitled = tuple(word for word in words if word not in _TITLES) or tuple(words)
    sure = sure and not all(word in _DATES for word in words)
    return Name(untitled, run[0].start, run[-1].start + len(run[-1].bare), sure)


def _is_stressed(token: _Token, plain: set[str]) -> bool:
    return token.bare.isupper() and token.bare.lower() in plain


def _from_capital(run: list[_Token]) -> list[_Token]:
    return list(dropwhile(lambda token: not token.capital, run))


def _is_function_word(token: _Token) -> bool:
    return token.bare.casefold() in STOP_WORDS and not token.marked


def _is_common(word: str) -> bool:
    return word in _OPENERS or word.endswith(_COMMON_ENDINGS) or len(word) < 2


def known_words(text: str) -> set[str]:
    """Every word of a text by its key, with and without its joints and its plural s.

    What a name's word is looked up in: a source that speaks of "Germans", of a "BIG-IP", of
    "U.S. law" and of "Apr. 1" supports "German", "IP", "US" and "April".
    """
    found = set()
    for match in _WORD.finditer(text):
        word = key(_POSSESSIVE.sub("", match[0]))
        for part in (word, word.replace("/", "-"), word.replace(".", ""), *parts(word)):
            found |= {part, part.removesuffix("s")}
    shorts = {word for word in _SHORT_DATES if word in found or _SHORT_DATES[word] in found}
    return found | shorts | {_SHORT_DATES[word] for word in shorts}


def initials(text: str) -> set[str]:
    """What a text's capitalised words begin with, by their keys."""
    return {key(token.raw)[0] for token in _tokens(text) if token.capital}


def parts(word: str) -> list[str]:
    """What a word is joined of."""
    return [part for part in _JOINT.split(word) if part]
