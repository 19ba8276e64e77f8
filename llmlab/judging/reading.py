"""What a judge has said: of one question, and of a pair that it was asked about in both orders."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

LONGEST, LONGEST_WHY = 10_000, 400  # characters
_FENCED = re.compile(r"\A```(?:json)?\s*\n(.*)\n```\Z", re.DOTALL)


class Place(StrEnum):
    """What is better, by where it stood in the question."""

    FIRST = "first"
    SECOND = "second"
    TIE = "tie"


class Choice(StrEnum):
    """What is better of a pair, in both orders."""

    A = "a"
    B = "b"
    TIE = "tie"
    CONTRADICTION = "contradiction"  # the same place twice, whatever stood there
    UNREADABLE = "unreadable"
    REFUSED = "refused"  # it was not asked: by a guard, or for its length


ABSTENTIONS = (Choice.CONTRADICTION, Choice.UNREADABLE, Choice.REFUSED)


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer of the judge.

    Args:
        place: None where it is not the one that was asked for.
        refused: the question was, and ``why`` says by what.
    """

    place: Place | None
    why: str = ""
    refused: bool = False


def read(text: str) -> Reading:
    """Read an answer: the object that was asked for, alone or in a fence, or the only object of the
    text that names a place. Everything else is unreadable: a guess would be a vote of ours."""
    text = text.strip()
    if len(text) > LONGEST:
        return Reading(None)
    if fenced := _FENCED.match(text):
        text = fenced[1].strip()
    try:
        found = [one for one in _objects(text) if "better" in one]
    except (ValueError, RecursionError):
        return Reading(None)
    if len(found) != 1:
        return Reading(None)
    better, why = found[0]["better"], found[0].get("why", "")
    if not isinstance(better, str) or better not in [*Place]:
        return Reading(None)
    said = " ".join(why.split())[:LONGEST_WHY] if isinstance(why, str) else ""
    return Reading(Place(better), said)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a text that stand in no other one.

    Raises:
        ValueError, RecursionError: a brace opens none. What follows may be within one, and quoted.
    """
    decoder, at = json.JSONDecoder(), text.find("{")
    while at >= 0:
        found, end = decoder.raw_decode(text, at)
        yield found
        at = text.find("{", end)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A pair in both orders.

    Args:
        a_first: what was said where a stood first.
        b_first: what was said where b did.
    """

    a_first: Reading
    b_first: Reading

    @property
    def choice(self) -> Choice:
        """The text that is preferred in both orders. A preference in one order and a tie in the
        other is a tie: the difference is smaller than what an order makes."""
        places = (self.a_first.place, self.b_first.place)
        if self.a_first.refused or self.b_first.refused:
            return Choice.REFUSED
        if None in places:
            return Choice.UNREADABLE
        if Place.TIE in places:
            return Choice.TIE
        if places[0] is places[1]:
            return Choice.CONTRADICTION
        return Choice.A if places[0] is Place.FIRST else Choice.B

    @property
    def by_place(self) -> Place | None:
        """The place that was preferred whatever stood there; None where none was."""
        return self.a_first.place if self.choice is Choice.CONTRADICTION else None

    @property
    def why(self) -> str:
        """The judge's own words for its choice, or why it was not asked; "" for neither."""
        return self.a_first.why or self.b_first.why


SAME = Judgement(Reading(Place.TIE, "the answers are the same"),
                 Reading(Place.TIE, "the answers are the same"))  # fmt: skip


def refused(why: str) -> Judgement:
    """Of a pair that cannot be asked about."""
    one = Reading(None, why, refused=True)
    return Judgement(one, one)
