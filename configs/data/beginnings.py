"""Write the data set `beginnings`: texts in which one sentence tells how something began.

    python configs/data/beginnings.py        # writes beginnings.jsonl, here

The summary of a text is that sentence, word for word. Some texts are like the joined summaries of
windows, which a long text's reader reads again: sentences about this and that, some broken off.
All organizations and people are made up, and most of the towns. The background is
``background.txt``, written by hand for this project. So that a model cannot know it by heart, its
clauses are mixed, and many words are replaced by others, some of which do not exist. Which of it,
in what order and about whom is drawn with a fixed seed, so the file comes out the same every time.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TEXTS = 8000
MORE = 0.15  # of the texts have many sentences
CHAINS = 0.25  # of the texts: what is left of windows that were summed up, to be read again
BROKEN = 0.3  # of the sentences of such a text: the start or the end is missing
INVENTED = 0.45  # of the names: never there before, so that a name can only be copied
MIXED = 0.5  # of the background: begins as one sentence and ends as another
REPLACED = (0, 0.1, 0.3, 0.5, 0.7)  # of the longer words of a sentence of it; one of these
MADE_UP = 0.4  # of the words that are put in their places
TOUCHED = 0.4  # of what is said about the organization: has some words replaced as well

ONSETS = "b br c ch d dr f fl g gl h j k kr l m n p pr qu r s sh st t th tr v w y z".split()
NUCLEI = "a e i o u ai ea io ou".split()
CODAS = ["", "", "", *"l m n nd r rt s st th x ck ng".split()]
CAPITALS = "ABCDEGHIKLMNOPRSTVXZ"

MONTHS = (
    "January February March April May June July August September October November December"
).split()
STARTS = (
    "Kel Nor Ash Tal Ver Mar Ost Fen Grey Hal Lin Bar Cor Dun East Fair Gold Hart Ister Jor "
    "Kings Lang Mor Nether Oak Pel Quar Red Stan Thorn Ulver Var West Yar Zel Alder Birk "
    "Crow Dell Elm Bel Tor San Ren Mil Hol Sil Wind Stone Black"
).split()
ENDS = (
    "vara wick mere ford dal gate strand holt mont field ton burg by ley more well haven "
    "stead worth crest lund vik nes moor bridge bury ham den ridge shaw brook cliff low "
    "tech soft works link net data lab line cast tron dyne star"
).split()
TOWNS = (
    "Seattle|Portland|Boston|Denver|Austin|Chicago|Houston|Detroit|Toronto|Montreal|Bergen|"
    "Oslo|Aarhus|Malmö|Gothenburg|Helsinki|Turku|Tallinn|Riga|Gdansk|Hamburg|Bremen|Leipzig|"
    "Dresden|Munich|Vienna|Graz|Zurich|Basel|Geneva|Lyon|Lille|Nantes|Bordeaux|Turin|Genoa|"
    "Bologna|Naples|Valencia|Bilbao|Porto|Lisbon|Leeds|Bristol|Glasgow|Dundee|Cardiff|Belfast|"
    "Dublin|Cork|Ghent|Antwerp|Utrecht|Delft|Eindhoven|Brno|Ostrava|Krakow|Budapest|Athens|"
    "Haifa|Nairobi|Accra|Lagos|Durban|Mumbai|Pune|Chennai|Osaka|Kyoto|Nagoya|Busan|Taipei|"
    "Perth|Adelaide|Wellington|Auckland|Lima|Bogota|Rosario|Valparaiso|Monterrey|Baltimore|"
    "Cleveland|Rochester|Pittsburgh|Oakland|New Haven|San Jose|Santa Fe|Cape Town|Salt Lake City|"
    "Port Louis|St. Gallen|Fort Worth"
).split("|")
GIVEN = (
    "Ingrid Karl Martha Henrik Louise Peter Amara Tomas Clara Joseph Edith Samuel Ruth Anton "
    "Helena Viktor Maria Oscar Judith Daniel Astrid Paul Sofia Walter Irene Hugo Alice Leon "
    "Greta Marcus Nora Simon Elsa Robert Julia Frank Emma Jakob Lydia Arthur Miriam George "
    "Hanna Philip Teresa David Agnes Martin Laura Conrad"
).split()
FAMILY = (
    "Solheim Brandt Okafor Lindqvist Moreau Harper Castell Novak Weber Ferrari Dalton Osei "
    "Larsen Keller Duarte Fischer Hughes Petrov Aalto Rossi Bennett Sandoval Kovacs Meyer "
    "Nilsson Barros Whitfield Tanaka Mensah Olsen Hartley Vogel Romero Sinclair Jansen Pereira "
    "Lowell Haas Murray Falk Greene Winter Abbott Stein Carver Lund Page Rowe Sharp Holm"
).split()

# {was} and {did} are one of FOUNDED, {when} is a time with the year, {tail} what may follow.
BEGINNINGS = """
{name} was {was} in {town} in {when}{tail}.
{name} was {was} in {town} in {when} by {person}{tail}.
{name} was {was} in {town} in {when} by {person} and {other}{tail}.
{name} was {was} in {when} in {town}{tail}.
{name} was {was} in {when} in {town} by {person}{tail}.
{name} was {was} by {person} in {town} in {when}{tail}.
{name} was {was} by {person} and {other} in {when} in {town}{tail}.
{name} was {was} in {town} in {when} under the name {name} {suffix}.
{name} was {was} in {town} in {when} as {name} {suffix}{tail}.
{name} was {was} in {when} under another name in {town}{tail}.
{name} was {was} in {when} in {a_room} in {town}{tail}.
{name} was {was} in {a_room} in {town} in {when}{tail}.
{name} was first {was} in {town} in {when}{tail}.
{name} was originally {was} in {when} as {a_kind} in {town}{tail}.
{name}, {known}, was {was} in {town} in {when}{tail}.
{name}, {known}, was {was} in {when} in {town} by {person}{tail}.
The {kind} {name} was {was} in {town} in {when}{tail}.
The {kind} {name} was {was} in {when} by {person} of {town}{tail}.
The company {name} was {was} in {when} in {town}{tail}.
A company called {name} was {was} in {town} in {when}{tail}.
In {when} {person} {did} {name} in {town}{tail}.
In {when}, {person} and {other} {did} {name} in {town}{tail}.
In {when} {name} was {was} in {town}{tail}.
In {town}, {person} {did} {name} in {when}{tail}.
In {town} {name} was {was} in {when}{tail}.
{person} {did} {name} in {town} in {when}{tail}.
{person} {did} {name} in {when} in {town}{tail}.
{person}, {trade}, {did} {name} in {town} in {when}{tail}.
{person}, {trade}, {did} {name} in {when} in {a_room} in {town}{tail}.
{person} and {other} {did} {name} in {town} in {when}{tail}.
{person} and {other}, two friends from {town}, {did} {name} in {when}{tail}.
Together with {other}, {person} {did} {name} in {town} in {when}{tail}.
With {money}, {person} {did} {name} in {town} in {when}{tail}.
At the age of {age}, {person} {did} {name} in {town} in {when}{tail}.
It was in {when} that {person} {did} {name} in {town}{tail}.
It was {person} who {did} {name} in {town} in {when}{tail}.
My {relative} {did} {name} in {town} in {when}{tail}.
My {relative} and {person} {did} {name} in {when} in {a_room} in {town}.
We {did} {name} in {town} in {when}{tail}.
I {did} {name} in {when} in {a_room} in {town}{tail}.
Two brothers from {town} {did} {name} in {when}{tail}.
A group of {workers} {did} {name} in {town} in {when}{tail}.
{name} began in {town} in {when} as {a_kind}{tail}.
{name} began in {when} in {a_room} in {town}{tail}.
{name} began in {when}, when {person} {rented} in {town}{tail}.
{name} began as {a_kind} in {town} in {when}{tail}.
{name} started in {town} in {when}{tail}.
{name} started out in {when} as {a_kind} in {town}{tail}.
{name} got its start in {a_room} in {town} in {when}{tail}.
{name} opened its doors in {town} in {when}{tail}.
{name} first opened in {when} in {town}{tail}.
{name} came into being in {town} in {when}{tail}.
{name} was born in {a_room} in {town} in {when}{tail}.
{name} dates from {when}, when {person} {rented} in {town}.
{name} dates back to {when}, when {person} {did} {a_kind} in {town}{tail}.
{name} goes back to {a_kind} that {person} {did} in {town} in {when}.
{name} has existed since {when}, when {person} {rented} in {town}.
The story of {name} begins in {when} in {town}, where {person} {rented}.
The story of {name} began in {town} in {when}{tail}.
The history of {name} begins in {when}, when {person} {rented} in {town}.
The beginnings of {name} lie in {town}, where {person} {rented} in {when}.
The roots of {name} reach back to {when}, when {person} {rented} in {town}.
Founded in {town} in {when}, {name} {later}.
Founded in {when} in {town} by {person}, {name} {later}.
Founded by {person} in {town} in {when}, {name} {later}.
Established in {town} in {when}, {name} {later}.
Established in {when} by {person} of {town}, {name} {later}.
{name}, {was} in {town} in {when} by {workers}, {later}.
{name}, {was} in {when} by {person} of {town}, {later}.
{name}, which {person} {did} in {town} in {when}, {later}.
{name} has been making {product}s since {when}, when {person} {did} it in {town}.
{name} of {town} was {was} in {when} by two sisters{tail}.
The brothers {person} and {other} began {name} in {town} in {when}{tail}.
Since it was {was} in {town} in {when}, {name} has {since}.
When {name} was {was} in {town} in {when}, {meanwhile}.
When {person} {did} {name} in {town} in {when}, {meanwhile}.
""".strip().split("\n")
FOUNDED = (
    ("founded", "founded"), ("founded", "founded"), ("founded", "founded"),
    ("established", "established"), ("established", "established"), ("set up", "set up"),
    ("started", "started"), ("started", "started"), ("launched", "launched"),
    ("created", "created"), ("formed", "formed"), ("opened", "opened"),
    ("organized", "organized"), ("incorporated", "incorporated"),
)  # fmt: skip

# About the same organization, with names and years, but not its beginning.
LATER = """
{name} sold its first {product} in {year}.
In {year} {name} shipped {a_product} that weighed as much as a child.
{person} became chief executive of {name} in {year}.
{person}, who was born in {town}, became director of {name} in {when}.
By {year} {name} had {big} people on its payroll.
In {year} {name} bought a rival from {town} for {big} thousand pounds.
{person} left {name} in {year} and moved to {town}.
In {when} {name} moved its {room} from {town} to the coast.
{name} opened an office in {town} in {year}.
{name} opened a second {kind} in {town} in {year}.
In {year} {name} opened a branch in {town}, and closed it again in the following year.
In {year}, {name} started to sell {product}s in {town}.
{name} began to make {product}s in {year}.
In {year} {name} began to lose money, and {person} was asked to leave.
{name} set up a pension fund in {year}.
In {when} {name} set up a school for {workers} in {town}.
{name} established a prize for {workers} in {year}.
{name} launched {a_product} in {year}.
In {when} {name} launched its {product} in {town}.
{name} created {big} jobs in {town} between {year} and the end of the century.
A fire in {town} in {year} cost {name} its {room}.
{person}, who was born in {town} in {year}, wrote most of the catalogue.
{town} had {count} such shops in {year} and has none today.
Since {year} the {product} of {name} has been made in {town}.
In {year} the town of {town} named a street after {person}.
{name} went public in {when}.
The {product} won a medal in {town} in {year}.
{person} retired from {name} in {year}, after {count} years.
{person} joined {name} in {year} and led it through its worst years.
In {year} the founder of {name} was buried in {town}.
The founders had left {name} by {year}.
{name} celebrated its birthday in {town} in {year}, with {count} cakes.
A strike at {name} began in {when} and lasted for {count} weeks.
Today {name} has offices in {town} and {count} other cities.
{name} still stands in {town}, although its {product}s are made elsewhere.
When {person} visited {town} in {year}, {name} employed {big} people.
In {when} {name} merged with {third} of {town}.
{name} published its first catalogue in {year}.
In {year} {person} sold a third of {name} to a bank in {town}.
{name} paid no dividend between {year} and the war.
{name} took over {third} of {town} in {year}, with all of its debts.
In {year} {third}, a rival from {town}, was swallowed by {name}.
{person} ran {name} until {year} and then kept bees.
{name} has been listed on the exchange of {town} since {year}, as {symbol}.
{name} had its best year in {year}, thanks to {a_product}.
{name} is called so after {a_product}, as {person} admitted in {year}.
From {year} on {name} called itself {name} {suffix}.
Nobody at {name} expected the {product} to be a success.
{person} had come to {town} in {year} with two suitcases.
{person} was born in {town} in {year}.
{person} studied in {town} and married {other} in {year}.
In {year} the river flooded {town} for {count} days.
The bridge of {town} was built in {year} by {workers} from the south.
The railway reached {town} in {when}.
{other} remembered the winter of {year} as the coldest of all.
A law of {year} forbade the sale of {product}s on Sundays.
It made {big} {product}s a month, and {person} tested each of them.
The firm needed {count} years to pay its debts to {person}.
Its {product} was copied by {third} of {town} in {year}.
The company owes its logo to {person}, who drew it in {year}.
""".strip().split("\n")

FILL = {
    "suffix": "Works|Systems|Brothers|Networks|Instruments|Company|Press|Labs|Inc.|Group|& Sons|"
              "Software|Foundry|Technologies|Society|Institute",
    "season": "spring|summer|autumn|winter",
    "tool": "lathe|press|loom|kiln|forklift|typewriter|telescope|oven|pump|printer",
    "room": "cellar|garage|workshop|kitchen|barn|warehouse|loft|studio|boathouse|back room|"
            "former stable|tiny office|student flat|disused chapel|basement|shed",
    "kind": "print shop|repair shop|bakery|brewery|dairy|tannery|foundry|ferry line|seed shop|"
            "piano maker|consulting firm|web agency|radio maker|shipping agent|school|library|"
            "choir|theatre|hospital|newspaper|museum|football club|bank|cooperative|publisher|"
            "orchestra|record label|charity|laboratory|hotel|start-up|software house|"
            "mail-order business|training centre|research group|family business",
    "product": "bicycle|stove|radio|tractor|piano|clock|modem|router|kettle|camera|"
               "sewing machine|calculator|microscope|load balancer|printer|lamp|violin|"
               "search engine|database|toy|saddle|telescope|ticket|journal",
    "relative": "grandfather|grandmother|father|mother|aunt|uncle|great-grandmother|brother",
    "workers": "engineers|bakers|nurses|students|weavers|teachers|farmers|sailors|programmers|"
               "musicians|miners|neighbours|librarians|volunteers|doctors|potters|physicists",
    "trade": "a carpenter|a retired sailor|a young engineer|the daughter of a baker|a chemist|"
             "a former teacher|an unemployed printer|a student of medicine|a widow with six "
             "children|a physicist|the son of a smith|a nurse|a farmer|a programmer|a tailor by "
             "training|an amateur astronomer|a bookseller|a salesman from the north",
    "known": "the oldest of its kind|a maker of {product}s|now a household name|once a {kind}|"
             "known for its {product}s|the pride of the valley|which is much larger today|"
             "today the largest employer of the region|a small {kind}|as every child here knows",
    "money": "a loan from {other}|the money of three aunts|borrowed money|{big} pounds of savings|"
             "a partner and a van|the help of {other}|hardly any money|nothing but a {tool}",
    "rented": "rented {a_room}|bought a {tool}|opened {a_kind}|took over a ruined mill|hired two "
              "{workers}|taught {workers} in {a_room}|built a first {product} in {a_room}|"
              "began to repair {product}s|sold {product}s from a cart|bought {a_room} from {other}",
    "later": "grew into a company of {big} people|now makes {product}s for {workers}|was sold to "
             "{other} in the end|has moved {count} times|is the oldest {kind} of the country|"
             "is run by {other} today|employs {big} {workers}|soon needed a larger {room}|"
             "survived two wars and a flood|taught generations of {workers}",
    "since": "grown every year|trained {big} {workers}|changed hands {count} times|never missed "
             "a year|made more than a million {product}s|remained in the family",
    "meanwhile": "nobody gave it a year|there were {count} such firms in the country|hardly "
                 "anybody owned a {product}|it had {count} members and no {tool}|the neighbours "
                 "laughed|the whole staff fitted into one {room}|its {product}s were made by hand",
    "tail": "|||||||| with {count} people and one {tool}| with a loan from {other}| to make "
            "{product}s| to sell {product}s to {workers}| as {a_kind} for {workers}| with "
            "{big} pounds and a {tool}| after a quarrel with {other}| after the great fire| to "
            "give work to {workers}| and had {count} members at first| and soon moved to {third}|"
            ", at first in {a_room}|, with {other} as a silent partner|, with hardly any money|"
            ", and it made {product}s from the first day|, which was a risk at the time|, in the "
            "middle of a depression|, above a {kind}|, next to the station|, when there were "
            "only {count} {product}s in the country|, three weeks before the war| on the ruins "
            "of an older {kind}| for the benefit of poor {workers}| because {workers} needed "
            "better {product}s| as an answer to {third}| with money from the sale of a {product}|"
            " as a club for {workers}|, to the surprise of {other}| and named after a {tool}",
}  # fmt: skip
CHOICES = {slot: among.split("|") for slot, among in FILL.items()}
AROUND = ("tail", "known", "later", "since", "meanwhile")  # what is no part of the statement
SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Story:
    """One organization, and the sentences about it."""

    draw: random.Random
    pool: Background
    name: str
    person: str
    town: str
    year: int

    @classmethod
    def of(cls, draw: random.Random, pool: Background) -> Story:
        return cls(draw, pool, _name(draw), _person(draw), _town(draw), draw.randint(1820, 2018))

    def beginning(self) -> str:
        template = self.draw.choice(BEGINNINGS)
        was, did = self.draw.choice(FOUNDED)
        own = {"was": was, "did": did, "town": self.town, "person": self.person, "year": self.year}
        return self._filled(template, own)

    def later(self) -> str:
        """A sentence about it that is not how it began."""
        year = min(2024, self.year + self.draw.randint(1, 40))
        own = {"town": _town(self.draw), "person": _person(self.draw), "year": year}
        return self._touched(self._filled(self.draw.choice(LATER), own))

    def _touched(self, text: str) -> str:
        share = 0.3 if self.draw.random() < TOUCHED else 0
        return self.pool.altered(text, share)

    def _filled(self, template: str, own: dict[str, Any]) -> str:
        """Fill the slots of a sentence, and those of what is filled in."""
        draw = self.draw

        def value(found: re.Match[str]) -> str:
            slot = found[1]
            if slot in own or slot == "name":
                return str(own.get(slot, self.name))
            if slot in CHOICES:
                inserted = filled(draw.choice(CHOICES[slot]))
                return self._touched(inserted) if slot in AROUND else inserted
            if slot.startswith("a_"):
                noun = draw.choice(CHOICES[slot[2:]])
                return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
            if slot == "when":
                return _when(draw, own["year"])
            return {
                "other": _person, "third": _name, "symbol": _letters,
                "count": lambda draw: str(draw.randint(3, 19)),
                "age": lambda draw: str(draw.randint(19, 67)),
                "big": lambda draw: str(draw.randint(2, 90) * 10),
            }[slot](draw)  # fmt: skip

        def filled(text: str) -> str:
            return SLOT.sub(value, text)

        sentence = filled(template).replace("Inc..", "Inc.")
        return sentence[0].upper() + sentence[1:]


def _when(draw: random.Random, year: int) -> str:
    month = draw.choice(MONTHS)
    return draw.choice(
        (
            str(year), str(year), str(year), f"{month} {year}", f"{month} {year}",
            f"the {draw.choice(CHOICES['season'])} of {year}", f"early {year}", f"late {year}",
        )
    )  # fmt: skip


def _name(draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.08:  # such as M4, or 3M
        letter, digit = draw.choice(CAPITALS), str(draw.randint(1, 9))
        return letter + digit if draw.random() < 0.8 else digit + letter
    if kind < 0.14:
        return _letters(draw)
    name = _invented(draw) or draw.choice(STARTS) + draw.choice(ENDS)
    if kind < 0.2:
        name = f"{name} & {_invented(draw) or draw.choice(FAMILY)}"
    elif kind < 0.26:
        name = f"{_invented(draw) or draw.choice(STARTS)} {name}"
    return f"{name} {draw.choice(CHOICES['suffix'])}" if draw.random() < 0.2 else name


def _letters(draw: random.Random) -> str:
    return "".join(draw.choice(CAPITALS) for _ in range(draw.choice((3, 3, 4))))


def _person(draw: random.Random) -> str:
    middle = f" {draw.choice(CAPITALS)}." if draw.random() < 0.12 else ""
    given = _invented(draw) or draw.choice(GIVEN)
    return f"{given}{middle} {_invented(draw) or draw.choice(FAMILY)}"


def _town(draw: random.Random) -> str:
    return _invented(draw) or draw.choice(TOWNS)


def _invented(draw: random.Random) -> str:
    """A name of two or three syllables; as often as not, "" instead."""
    return _by_the_syllable(draw).capitalize() if draw.random() < INVENTED else ""


def _by_the_syllable(draw: random.Random) -> str:
    syllables = (
        draw.choice(ONSETS) + draw.choice(NUCLEI) + draw.choice(CODAS)
        for _ in range(draw.choice((2, 2, 3)))
    )
    return "".join(syllables)


class Background:
    """Sentences about nothing in particular."""

    def __init__(self, draw: random.Random, sentences: list[str]) -> None:
        self._draw = draw
        self._sentences = sentences
        self._words = sorted(
            {word for one in sentences for word in one.split() if _is_replaceable(word)}
        )

    def some(self, count: int) -> Iterator[str]:
        for sentence in self._draw.sample(self._sentences, count):
            mixed = self._mixed(sentence) if self._draw.random() < MIXED else sentence
            filled = SLOT.sub(lambda found: self._of_slot(found[1]), mixed)
            yield self.altered(filled, self._draw.choice(REPLACED))

    def altered(self, sentence: str, share: float) -> str:
        """It with other words, some of which nobody knows: so that a beginning has to be
        recognized by what it says, and not by everything else being known."""
        words = sentence.split(" ")
        for place, word in enumerate(words):
            if _is_replaceable(word) and self._draw.random() < share:
                other = (
                    _by_the_syllable(self._draw)
                    if self._draw.random() < MADE_UP
                    else self._draw.choice(self._words)
                )
                words[place] = other.capitalize() if word[0].isupper() else other.lower()
        return " ".join(words)

    def _mixed(self, sentence: str) -> str:
        first, comma, _ = sentence.partition(", ")
        _, other, rest = self._draw.choice(self._sentences).rpartition(", ")
        return f"{first}, {rest}" if comma and other else sentence

    def _of_slot(self, slot: str) -> str:
        draw = self._draw
        return draw.choice(CHOICES[slot]) if slot in CHOICES else str(draw.randint(3, 19))


def _is_replaceable(word: str) -> bool:
    return word.isalpha() and len(word) > 3


def told(draw: random.Random, pool: Background) -> dict[str, Any]:
    """A text with a beginning, at any place of it."""
    story = Story.of(draw, pool)
    long = draw.random() < MORE
    background = draw.randint(2, 5) if long else draw.randint(0, 2)
    later = draw.randint(1, 3) if long else draw.randint(0, 2)
    sentences = list(pool.some(background))
    sentences += [story.later() for _ in range(later + (background == 0))]
    draw.shuffle(sentences)
    beginning = story.beginning()
    sentences.insert(draw.randint(0, len(sentences)), beginning)
    return {
        "text": _paragraphs(sentences),
        "reference": beginning,
        "must_mention": [story.name, story.town, str(story.year)],
    }


def chained(draw: random.Random, pool: Background) -> dict[str, Any]:
    """Sentences of which each comes from somewhere else, and one of them is a beginning."""
    story = Story.of(draw, pool)
    sentences: list[str] = []
    for _ in range(draw.randint(3, 9)):
        kind = draw.random()
        about = story if kind < 0.2 else Story.of(draw, pool)
        sentence = about.later() if kind < 0.45 else next(pool.some(1))
        sentences.append(_broken(draw, sentence) if draw.random() < BROKEN else sentence)
    beginning = story.beginning()
    sentences.insert(draw.randint(0, len(sentences)), beginning)
    return {
        "text": " ".join(sentences),
        "reference": beginning,
        "must_mention": [story.name, story.town, str(story.year)],
    }


def _broken(draw: random.Random, sentence: str) -> str:
    """Most of it: as a summary that was too long, or that began too late."""
    words = sentence.split(" ")
    at = draw.randint(1, max(1, len(words) - 1))
    return " ".join(words[:at] if draw.random() < 0.7 else words[at:])


def _paragraphs(sentences: list[str]) -> str:
    parts = (sentences[at : at + 5] for at in range(0, len(sentences), 5))
    return "\n\n".join(" ".join(part) for part in parts)


def _one(draw: random.Random, pool: Background) -> dict[str, Any]:
    return chained(draw, pool) if draw.random() < CHAINS else told(draw, pool)


def main() -> None:
    sentences = (HERE / "background.txt").read_text(encoding="utf-8").strip().split("\n")
    draw = random.Random(1)  # noqa: S311  repeatable
    pool = Background(draw, sentences)
    lines = (
        json.dumps({"id": f"b-{number:04}", **_one(draw, pool)}, ensure_ascii=False)
        for number in range(1, TEXTS + 1)
    )
    (HERE / "beginnings.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
