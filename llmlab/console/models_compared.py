"""What two models differ in, and how both were judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from llmlab.console.desk import Desk
from llmlab.console.intervals import Compared, compared
from llmlab.console.models import catalogue_of, facts_of, known_of, names_in, unkept
from llmlab.console.pages import Page, Query
from llmlab.console.visitor import Visitor
from llmlab.delivery.model_sections import rows

# What two models differ in anyway, or what says the same again.
BESIDE = ("name", "folder", "files", "ready", "reason", "fix", "record", "prompt_text")
OF_RECORD = ("reference", "name", "version", "created", "evaluations", "files", "id", "weights")


class Difference(TypedDict):
    """In what two models differ. "" where that says nothing."""

    name: str
    a: str
    b: str


class ComparedModels(TypedDict):
    """Args:
    differences: in their records and settings; null: nothing is known of it.
    same: of how many other facts both say the same.
    suites: by which both were judged, with the same texts.
    """

    a: str
    b: str
    differences: list[Difference]
    same: int
    suites: list[str]


@dataclass(frozen=True)
class Suite:
    """A suite that judged both, by the newest evaluation of each."""

    name: str
    n: tuple[int, int]
    metrics: tuple[Compared, ...]


@dataclass(frozen=True)
class Pair:
    """Two models. ``names``: of all that there are."""

    names: tuple[str, ...]
    a: str = ""
    b: str = ""
    differences: tuple[Difference, ...] = ()
    same: int = 0
    suites: tuple[Suite, ...] = field(default=())
    unkept: tuple[str, ...] = ()  # of which of them evaluations are not kept, and why

    def as_json(self) -> ComparedModels:
        return {
            "a": self.a, "b": self.b, "differences": list(self.differences), "same": self.same,
            "suites": [one.name for one in self.suites],
        }  # fmt: skip


def gather_pair(desk: Desk, query: Query, visitor: Visitor) -> Pair:
    """
    Raises:
        Missing: there is no such model.
    """
    del visitor
    catalogue = catalogue_of(desk)
    names = tuple(names_in(catalogue))
    a, b = query.get("a", ""), query.get("b", "")
    if not (a and b):
        return Pair(names, a, b)
    one, other = (facts_of(catalogue, known_of(catalogue, name)) for name in (a, b))
    differences, same = _differences(one, other)
    lacks = tuple(f"{name} {why}" for name, facts in {a: one, b: other}.items()
                  if (why := unkept(facts)))  # fmt: skip
    return Pair(names, a, b, tuple(differences), same, tuple(_suites(one, other)), lacks)


def _differences(
    one: Mapping[str, Any], other: Mapping[str, Any]
) -> tuple[list[Difference], int]:  # fmt: skip
    told, told_other = dict(_told(one)), dict(_told(other))
    names = [*told, *(name for name in told_other if name not in told)]
    found: list[Difference] = [
        {"name": name, "a": told.get(name, ""), "b": told_other.get(name, "")} for name in names
        if told.get(name) != told_other.get(name)
    ]  # fmt: skip
    return found, len(names) - len(found)


def _told(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is known of it, each fact in one line: ``decoding, temperature``, ``0.2``."""
    record = {name: value for name, value in (facts["record"] or {}).items()
              if name not in OF_RECORD}  # fmt: skip
    if "source" in record:  # of lab.toml's, and of the registry's, words
        record["origin"] = record.pop("source")
    merged = {**record, **{name: value for name, value in facts.items() if name not in BESIDE}}
    if text := facts.get("prompt_text"):
        merged["prompt"] = text
    above: list[str] = []
    for row in rows(merged):
        above[row.depth :] = [row.name]
        if row.text:
            yield ", ".join(above), row.text


def _suites(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Suite]:
    mine, theirs = _newest(one), _newest(other)
    for key in mine:
        if key in theirs:
            both: Sequence[Mapping[str, Any]] = (mine[key], theirs[key])
            counts = int(both[0].get("n") or 0), int(both[1].get("n") or 0)
            yield Suite(key[0], counts, tuple(compared(both)))


def _newest(facts: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """{(suite, its digest): the last evaluation by it}."""
    found = (facts["record"] or {}).get("evaluations", ())
    return {(str(one.get("suite", "")), str(one.get("digest", ""))): one for one in found}


PAGES = (
    Page(
        "models/compare", "", "models_compare.html.j2", gather_pair, menu="models", asks=("a", "b")
    ),
)
