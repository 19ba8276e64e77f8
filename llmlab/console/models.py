"""The lab's models: what there is, and what is known of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from llmlab.console.desk import Desk
from llmlab.console.intervals import Compared, compared
from llmlab.console.pages import Missing, Page, Query
from llmlab.console.visitor import Visitor
from llmlab.delivery.model_sections import Section, sections
from llmlab.delivery.using import Used, running_plan, serving, used_of
from llmlab.errors import UsageError
from llmlab.models.prompts import prompt_of
from llmlab.models.sources import availability
from llmlab.registry.catalogue import Catalogue, Known, registered
from llmlab.registry.listing import Listed, listed, shown, told_source
from llmlab.registry.record import Record

EMBEDDED = "embedded:"
REMEMBERED = 64  # models whose files need not be read again while they are as they were
MARKS = {"pass": "✓", "fail": "✗", "inconclusive": "?"}
LOOKS = {"pass": "good", "fail": "wrong", "inconclusive": "unsure"}


@dataclass(frozen=True)
class Line:
    """A row of the list, in words.

    Args:
        source: where it is from.
        serves: the deployments that run and serve it.
    """

    row: Listed
    source: str
    serves: tuple[str, ...] = ()


@dataclass(frozen=True)
class List:
    """``serving``: what serves each model, by its name."""

    rows: tuple[Listed, ...]
    serving: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def as_json(self) -> list[Listed]:
        """The document of `models list -o json`."""
        return list(self.rows)

    @property
    def lines(self) -> list[Line]:
        return [Line(row, told_source(row), self.serving.get(row["name"], ()))
                for row in self.rows]  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """An evaluation. ``mark`` and ``look`` of what its gate said; "" without one."""

    suite: str
    n: int
    against: str
    gate: str
    outcome: str
    reason: str
    metrics: tuple[Compared, ...]

    @property
    def mark(self) -> str:
        return MARKS.get(self.outcome, "")

    @property
    def look(self) -> str:
        return LOOKS.get(self.outcome, "")


@dataclass(frozen=True)
class Lineage:
    """What it is made from, and what was made from it.

    Args:
        base: what was published, in words; "" for none.
        parent: what it was tuned from: a reference, or an id that is not registered here.
        data: what it was made with, in words.
        children: references of those that were tuned from it.
        siblings: those of the same weights, with another prompt or decoding.
    """

    base: str = ""
    parent: str = ""
    parent_known: bool = False
    data: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    siblings: tuple[str, ...] = ()

    @property
    def there(self) -> bool:
        return any((self.base, self.parent, self.data, self.children, self.siblings))


@dataclass(frozen=True)
class Model:
    """One model. ``others``: those that it can be compared with."""

    name: str
    facts: Mapping[str, Any]
    used: Used
    lineage: Lineage
    others: tuple[str, ...] = ()

    def as_json(self) -> Mapping[str, Any]:
        """The document of `models show -o json`."""
        return self.facts

    @property
    def sections(self) -> list[Section]:
        """All but what has a place of its own on the page."""
        own = ("judged by", "used")
        return [one for one in sections(self.facts, self.used) if one.title not in own]

    @property
    def unkept(self) -> str:
        return unkept(self.facts)

    @property
    def judged(self) -> list[Judged]:
        """The newest first."""
        found = (self.facts["record"] or {}).get("evaluations", ())
        return [_judged(one) for one in reversed(found)]


def gather_list(desk: Desk, query: Query, visitor: Visitor) -> List:
    del query, visitor
    catalogue = catalogue_of(desk)
    rows = tuple(listed(catalogue))
    plan = running_plan(desk.lab)
    if plan is None:
        return List(rows)
    names = [row["name"] for row in rows]
    return List(rows, {name: tuple(serving(plan, catalogue.get(name))) for name in names})


def gather_one(desk: Desk, query: Query, visitor: Visitor) -> Model:
    """
    Raises:
        Missing: there is no such model.
        UsageError: none was named.
    """
    del visitor
    if not (name := query.get("name", "")):
        raise UsageError("no model is named", fix="choose one of the list of models")
    catalogue = catalogue_of(desk)
    known = known_of(catalogue, name)
    own = known.record.reference if known.record else known.name
    others = tuple(one for one in names_in(catalogue) if one not in (own, known.name))
    return Model(
        own, facts_of(catalogue, known),
        used_of(desk.lab, catalogue, known), _lineage(catalogue, known.record), others,
    )  # fmt: skip


# --- what they are made of ----------------------------------------------------------------------


def catalogue_of(desk: Desk) -> Catalogue:
    return Catalogue(desk.config, desk.registry)


def known_of(catalogue: Catalogue, name: str) -> Known:
    """By a name or a reference; by an id only what is registered: to find another one by its id,
    all files of all models would be read, for whoever asks and as often as they do.

    Raises:
        Missing: there is no such model.
    """
    try:
        if name.startswith("sha256:"):
            found = registered(catalogue.registry, name)
            if found is None:
                raise Missing(f"no registered model has the id {name!r}", fix="llmlab models list")
            return found
        return catalogue.get(name)
    except UsageError as error:
        raise Missing(error.message, fix=error.fix) from None


def unkept(facts: Mapping[str, Any]) -> str:
    """Why evaluations of a model are not kept, and what has them kept; "" where they are."""
    if facts["record"]:
        return ""
    if str(facts["source"]).startswith(EMBEDDED):
        return "is a part of llmlab and has no record, so what judges it is not kept."
    return "is not registered, so what judges it is not kept."


def names_in(catalogue: Catalogue) -> list[str]:
    return [*catalogue.config.models, *(one.reference for one in catalogue.registry.records())]


@dataclass(frozen=True)
class _Asked:
    """What facts of a model follow from: its definition, and its files as they are on disk."""

    name: str
    model: str
    prompt: str
    files: tuple[tuple[str, int, int], ...]
    catalogue: Catalogue = field(compare=False)
    known: Known = field(compare=False)


def facts_of(catalogue: Catalogue, known: Known) -> dict[str, Any]:
    """All that is known; its files are read, which may be gigabytes, when they have changed."""
    root = catalogue.registry.root
    found = availability(
        known.name, known.model, root, llama_server=catalogue.config.service.llama_server
    )
    there = sorted(found.folder.rglob("*")) if found.folder else []
    stats = [(str(one), one.stat()) for one in there if one.is_file()]
    asked = _Asked(
        known.name, known.model.model_dump_json(), prompt_of(known.name, known.model, root),
        tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats),
        catalogue, known,
    )  # fmt: skip
    facts = _read(asked) if found.ready else shown(catalogue, known)
    return {**facts, "record": known.record.as_json() if known.record else None}


@lru_cache(maxsize=REMEMBERED)
def _read(asked: _Asked) -> dict[str, Any]:
    return shown(asked.catalogue, asked.known)


def _judged(one: Mapping[str, Any]) -> Judged:
    verdict, baseline = one.get("verdict") or {}, one.get("baseline") or {}
    return Judged(
        suite=str(one.get("suite", "?")), n=int(one.get("n") or 0),
        against=str(baseline.get("name", "")), gate=str(verdict.get("gate", "")),
        outcome=str(verdict.get("outcome", "")), reason=str(verdict.get("reason", "")),
        metrics=tuple(compared([one])),
    )  # fmt: skip


def _lineage(catalogue: Catalogue, record: Record | None) -> Lineage:
    if record is None:
        return Lineage()
    facts, others = record.facts, catalogue.registry.records()
    parents = [one.reference for one in others if facts.parent in (one.id, one.weights)]
    base = facts.base
    return Lineage(
        base=f"{base.repository}{f' at {base.revision}' if base.revision else ''}" if base else "",
        parent=parents[0] if parents else facts.parent, parent_known=bool(parents),
        data=tuple(f"{one.role}: {one.count:,} texts{f' of {one.name}' if one.name else ''}"
                   for one in facts.data),
        children=tuple(one.reference for one in others
                       if one.facts.parent and one.facts.parent in (record.id, record.weights)),
        siblings=tuple(one.reference for one in others
                       if one.weights == record.weights and one.reference != record.reference),
    )  # fmt: skip


PAGES = (
    Page("models", "Models", "models.html.j2", gather_list),
    Page("models/show", "", "models_show.html.j2", gather_one, menu="models", asks=("name",)),
)
