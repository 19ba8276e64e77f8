"""Flags: for whom each is on, what it does then, who changed it, and whether it is for somebody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from llmlab.console.arriving import why_of
from llmlab.console.desk import Desk
from llmlab.console.pages import Change, Missing, Page, Query
from llmlab.console.visitor import Visitor
from llmlab.delivery.deployments import deployments
from llmlab.errors import AuthError, UsageError
from llmlab.flags import changing
from llmlab.flags.changing import FlagEntry
from llmlab.flags.defining import LONGEST_VALUE, MOST
from llmlab.flags.evaluate import FlagExplained, claimed, explained
from llmlab.flags.telling import told_then, told_who
from llmlab.flags.wanting import Wanted, put
from llmlab.ledger.chain import Entry
from llmlab.ledger.telling import told
from llmlab.runtimes.base import Strategy
from llmlab.traffic import Flag

NEWEST = 8  # changes beside the list
KEPT = 200  # on their own page
N = TypeVar("N", int, float)


@dataclass(frozen=True)
class FlagChange:
    """An entry of the ledger, and what it says in words."""

    entry: FlagEntry
    told: str


@dataclass(frozen=True)
class FlagRow:
    """A flag, and its newest change. ``who`` and ``then`` in words."""

    flag: Flag
    who: str
    then: str
    changed: FlagChange | None


@dataclass(frozen=True)
class FlagsFound:
    """``asked`` is whom ``explained`` is about, as it was typed."""

    rows: tuple[FlagRow, ...]
    history: tuple[FlagChange, ...]
    explained: FlagExplained | None = None
    asked: Query | None = None
    most: int = MOST


@dataclass(frozen=True)
class FlagForm:
    """Args:
    flag: as it is; None for a new one.
    audience: CLAIM=VALUE each.
    """

    flag: Flag | None
    audience: tuple[str, ...]
    deployments: tuple[str, ...]
    strategies: tuple[str, ...] = tuple(one.value for one in Strategy)


# --- What is shown ------------------------------------------------------------------------------


def gather(desk: Desk, query: Query, visitor: Visitor) -> FlagsFound:
    del query, visitor
    history = _newest(changing.changes(desk.store, last=KEPT))
    newest = {one.entry["flag"]: one for one in reversed(history)}
    rows = (_row(flag, newest.get(flag.name)) for flag in desk.store.traffic().flags)
    return FlagsFound(tuple(rows), history[:NEWEST])


def gather_explained(desk: Desk, query: Query, visitor: Visitor) -> FlagsFound:
    """
    Raises:
        Missing: there is no such flag.
        UsageError: nobody is named, or a claim is none.
    """
    found = gather(desk, query, visitor)
    subject = query.get("sub", "").strip()
    if not subject or len(subject) > LONGEST_VALUE:
        raise UsageError("a flag is on or off for somebody: name the subject of a token")
    claims = claimed(subject, lines(query.get("claim", "")))
    flag = _flag(desk, query.get("flag", ""))
    return FlagsFound(found.rows, found.history, explained(flag, claims), query)


def gather_history(desk: Desk, query: Query, visitor: Visitor) -> tuple[FlagChange, ...]:
    """Of one that was removed as well.

    Raises:
        Missing: there is no such flag, and there was none.
    """
    del visitor
    name = query.get("flag", "")
    found = _newest(changing.changes(desk.store, name, last=KEPT))
    if name and not found:
        _flag(desk, name)
    return found


def gather_form(desk: Desk, query: Query, visitor: Visitor) -> FlagForm:
    """
    Raises:
        AuthError: they may change nothing.
        Missing: there is no such flag.
    """
    if not visitor.operates:
        raise AuthError("a viewer changes no flags: that takes the scope llmlab:operator")
    name = query.get("flag", "")
    flag = _flag(desk, name) if name else None
    audience = tuple(f"{claim}={value}" for claim, value in flag.audience) if flag else ()
    return FlagForm(flag, audience, deployments(desk.lab))


def _flag(desk: Desk, name: str) -> Flag:
    try:
        return changing.get(desk.store.traffic(), name)
    except UsageError as error:
        raise Missing(error.message, fix=error.fix) from None


def _row(flag: Flag, changed: FlagChange | None) -> FlagRow:
    return FlagRow(flag, told_who(flag), told_then(flag), changed)


def _newest(found: list[Entry]) -> tuple[FlagChange, ...]:
    """The newest first, as people read them."""
    return tuple(FlagChange(changing.as_entry(one), told(one)) for one in reversed(found))


def lines(text: str) -> list[str]:
    """What was typed, one a line."""
    return [line.strip() for line in text.splitlines() if line.strip()]


# --- What is changed ----------------------------------------------------------------------------


def set_flag(desk: Desk, form: Query, visitor: Visitor) -> str:
    put(desk.lab, form.get("flag", "").strip(), wanted(form), why_of(form), who=visitor.subject)
    return "flags"


def remove(desk: Desk, form: Query, visitor: Visitor) -> str:
    changing.remove(desk.store, form.get("flag", ""), why_of(form), who=visitor.subject)
    changing.take_over(desk.lab)
    return "flags"


def wanted(form: Query) -> Wanted:
    """What a form says, which says all of a flag: what is left empty is taken out.

    Raises:
        UsageError: a number is none, or it does not say for whom.
    """
    on_for = form.get("on_for", "")
    if on_for not in ("everybody", "nobody", "some"):
        raise UsageError("say for whom it is on: everybody, nobody, or some")
    some, audience = on_for == "some", lines(form.get("audience", ""))
    percent = _number(form, "percent", float) if some else None
    if some and not percent and not audience:
        raise UsageError(
            "on for some, but nobody says of whom",
            fix="name a claim of their tokens, or a percent of the others; else say nobody",
        )
    return Wanted(
        on=on_for == "everybody",
        off=on_for == "nobody",
        percent=percent,
        audience=audience if some else None,
        deployment=form.get("deployment", ""),
        max_length=_number(form, "max_length", int),
        min_length=_number(form, "min_length", int),
        strategy=form.get("strategy", ""),
    )


def _number(form: Query, name: str, kind: Callable[[str], N]) -> N:
    """0 for one that is left empty."""
    text = form.get(name, "").strip()
    try:
        return kind(text or "0")
    except ValueError:
        raise UsageError(f"{name.replace('_', ' ')} {text!r} is no number") from None


def _flags(found: FlagsFound) -> list[dict[str, object]]:
    """As ``flag list -o json``."""
    return [changing.as_document(one.flag) for one in found.rows]


PAGES = (
    Page("flags", "Flags", "flags.html.j2", gather, live=True, document=_flags),
    Page("flags/explain", "", "flags.html.j2", gather_explained, menu="flags",
         asks=("flag", "sub", "claim"),
         document=lambda found: found.explained),
    Page("flags/history", "", "flags_history.html.j2", gather_history, menu="flags", asks=("flag",),
         document=lambda found: [one.entry for one in reversed(found)]),
    Page("flags/change", "", "flag_change.html.j2", gather_form, menu="flags", asks=("flag",)),
)  # fmt: skip
CHANGES = (Change("flags/set", set_flag), Change("flags/remove", remove))
