"""Facts: what a summary must say, must not say, and says without the source.

All of it compares strings and is a proxy: a name kept may stand in a false sentence, and one
that is missing may be said in other words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from llmlab.evaluate.names import Name, initials, known_words, names, parts
from llmlab.evaluate.text import Term, fold, locate, readings, terms
from llmlab.hyphens import mended

# Mostly a pronoun or a turn of phrase ("at first", "a third"): they support a number, and are none
# that a summary has to keep or could get wrong.
IDIOMS = frozenset({"one", "first", "second", "third"})
STEM = 5  # letters that make "Researchers" and "research" the same for a sentence's first word

# The spellings of one fact, any of which will do.
Fact = tuple[str, ...]


class Kind(StrEnum):
    NAME = "name"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class Mention:
    """A name or number where it stands in its text: ``text[start:end]``, in characters.

    ``text`` is what it reads: without the hyphen of a word that the end of a line broke.
    """

    kind: Kind
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Details:
    """The names and numbers of a source and of its summary, compared.

    Args:
        kept: In the source and in the summary; places in the source (first of each).
        missing: In the source only; places in the source (first of each).
        unsupported: In the summary and not in the source; places in the summary (all).
    """

    kept: tuple[Mention, ...]
    missing: tuple[Mention, ...]
    unsupported: tuple[Mention, ...]


def details(source: str, summary: str) -> Details:
    """Compare the names and numbers of a summary with those of its source.

    A number is supported if the source has the same value (``text.terms``); a bare "one" or
    "first" supports one, and needs no support. A name is supported if each of its words occurs
    in the source in any case, alone or in a compound; a summary that pairs the wrong two words
    of the source passes. A name of the source counts as kept if the summary has it, or its last
    word (a surname), as words.
    """
    of_source, of_summary = _Found(source), _Found(summary)
    kept: list[Mention] = []
    missing: list[Mention] = []
    for mention, there in of_source.occur_in(of_summary):
        (kept if there else missing).append(mention)
    unsupported = (mention for mention, there in of_summary.supported_by(of_source) if not there)
    return Details(tuple(kept), tuple(missing), tuple(sorted(unsupported, key=_place)))


def _place(mention: Mention) -> int:
    return mention.start


class _Found:
    """What one text holds."""

    def __init__(self, text: str) -> None:
        self.text = text
        reading = mended(text)
        self.names = [
            replace(one, start=reading.origin(one.start), end=reading.origin_of_end(one.end))
            for one in names(reading.text)
        ]
        numbers = [one for one in terms(text) if one.number]  # "F5" is one word, hence none
        self.values = {one.key for one in numbers}
        # The 19 of "COVID-19" is the name's.
        named = {at for name in self.names if name.sure for at in range(name.start, name.end)}
        self.numbers = [
            one
            for one in numbers
            if one.start not in named and text[one.start : one.end].lower() not in IDIOMS
        ]
        self.words = known_words(text) | known_words(reading.text)
        self.initials = initials(reading.text)
        self.stems = {word[:STEM] for word in self.words if len(word) >= STEM}

    def occur_in(self, summary: _Found) -> Iterable[tuple[Mention, bool]]:
        """Each distinct name and number with whether the summary has it, in text order."""
        first: dict[tuple[str, ...], Name] = {}
        for name in self.names:
            if name.sure:
                first.setdefault(name.words, name)
        found = [
            (self._mention(Kind.NAME, name), summary.has_name(words))
            for words, name in _without_short_forms(first).items()
        ]
        values: dict[str, Term] = {}
        for number in self.numbers:
            values.setdefault(number.key, number)
        found += [
            (self._mention(Kind.NUMBER, one), key in summary.values) for key, one in values.items()
        ]
        return sorted(found, key=lambda pair: pair[0].start)

    def has_name(self, words: tuple[str, ...]) -> bool:
        return self.knows(words[-1])

    def supported_by(self, source: _Found) -> Iterable[tuple[Mention, bool]]:
        for name in self.names:
            there = all(source.knows(word) for word in name.words)
            if not name.sure:
                there = there or name.words[0][:STEM] in source.stems
            yield self._mention(Kind.NAME, name), there
        for number in self.numbers:
            yield self._mention(Kind.NUMBER, number), number.key in source.values

    def knows(self, word: str) -> bool:
        return self._has(word) or all(map(self._has, parts(word)))

    def _has(self, word: str) -> bool:
        """Whether a word is there: itself, its singular, its initial or its value."""
        spellings = {word, word.replace(".", ""), word.removesuffix("s")}
        return bool(
            spellings & self.words
            or (len(word) == 1 and word in self.initials)
            or self.values.intersection(one.key for one in terms(word) if one.number)
        )

    def _mention(self, kind: Kind, one: Name | Term) -> Mention:
        said = mended(self.text[one.start : one.end]).text
        return Mention(kind, said, one.start, one.end)


def _without_short_forms(found: dict[tuple[str, ...], Name]) -> dict[tuple[str, ...], Name]:
    """Leave out "McAdam" where "John McAdam" is there: one person, asked for once."""
    surnames = {words[-1:] for words in found if len(words) > 1}
    return {words: name for words, name in found.items() if words not in surnames}


@dataclass(frozen=True, slots=True)
class Mentions:
    """What a summary says of the facts it must and must not mention.

    ``kept`` and ``forbidden`` have their places in the summary, in characters.
    """

    kept: tuple[tuple[Fact, int, int], ...]
    missing: tuple[Fact, ...]
    forbidden: tuple[tuple[Fact, int, int], ...]

    @property
    def coverage(self) -> float | None:
        """The share of the facts that are kept; None where none is asked for."""
        asked = len(self.kept) + len(self.missing)
        return len(self.kept) / asked if asked else None


def mentions(summary: str, must: Sequence[Fact] = (), must_not: Sequence[Fact] = ()) -> Mentions:
    """Look for each fact, in any of its spellings, as whole terms side by side.

    "BIG-IP" is found in "big/ip", "1.5 million" in "1,500,000", "F5" in "F5's", but "F5" not
    in "F50" and "5" not in "5 million" (``text.terms`` says what is the same).
    """
    held = readings(summary)
    kept, missing, forbidden = [], [], []
    for fact in must:
        place = find_fact(fact, held)
        if place:
            kept.append((fact, *place))
        else:
            missing.append(fact)
    for fact in must_not:
        if place := find_fact(fact, held):
            forbidden.append((fact, *place))
    return Mentions(tuple(kept), tuple(missing), tuple(forbidden))


def find_fact(fact: Fact, held: Sequence[list[Term]]) -> tuple[int, int] | None:
    """The first place of any spelling of a fact in a text's terms (``text.readings``)."""
    wanted = [[term.key for term in terms(spelling)] for spelling in fact]
    places = (locate(keys, reading) for keys in wanted for reading in held)
    return min((place for place in places if place), default=None)


def is_sayable(spelling: str) -> bool:
    """Whether a spelling has a term at all; "!!!" could never be found."""
    return any(True for _ in terms(fold(spelling)))
