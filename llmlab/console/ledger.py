"""The ledger: who changed what, when and why; what an entry changed; whether the chain is whole."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llmlab.auth.tokens import parse_ttl
from llmlab.console.arriving import visitor_from
from llmlab.console.desk import Desk
from llmlab.console.pages import Missing, Page, Query
from llmlab.console.visitor import Visitor
from llmlab.errors import UsageError
from llmlab.ledger import exported
from llmlab.ledger.chain import Entry, Kind, Verdict
from llmlab.ledger.changes import Difference, of_traffic
from llmlab.ledger.searching import Search, count, everybody, search, traffic_before
from llmlab.ledger.store import Store
from llmlab.ledger.telling import TRAFFIC, told
from llmlab.ledger.verifying import checked_head, verify_store

PAGE = 50  # entries
SINCE = (
    ("", "any time"), ("1h", "the last hour"), ("24h", "the last day"), ("7d", "the last 7 days"),
    ("30d", "the last 30 days"),
)  # fmt: skip
LONGEST_NUMBER = 18  # digits; SQLite's have 64 bits
FILTERS = ("kind", "who", "words", "since")


@dataclass(frozen=True)
class Told:
    """An entry, and what happened, in a sentence."""

    entry: Entry
    told: str


@dataclass(frozen=True)
class LedgerFound:
    """Args:
    older: what is asked for to see the page behind this one; "" where there is none.
    everybody: whoever has an entry.
    total: entries, whether they are looked for or not.
    asked: what they are looked for by, but for the page.
    """

    rows: tuple[Told, ...]
    older: str
    everybody: tuple[str, ...]
    total: int
    asked: Query
    kinds: tuple[str, ...] = tuple(Kind)
    sinces: tuple[tuple[str, str], ...] = SINCE


@dataclass(frozen=True)
class EntryFound:
    """An entry, what it changed of the routes, and the rest of what it says."""

    one: Told
    changes: tuple[Difference, ...] | None
    rest: dict[str, Any]
    last: int


@dataclass(frozen=True)
class Verified:
    """``noted``: the hash that was noted down elsewhere; "" for none."""

    verdict: Verdict
    noted: str


def gather(desk: Desk, query: Query, visitor: Visitor) -> LedgerFound:
    """
    Raises:
        UsageError: what is looked for cannot be.
    """
    del visitor
    store, asked = desk.store, {name: query[name] for name in FILTERS if query.get(name)}
    found = search(store, wanted(query, time.time()), PAGE + 1)
    older = urlencode({**asked, "before": found[PAGE - 1].seq}) if len(found) > PAGE else ""
    rows = tuple(Told(one, told(one)) for one in found[:PAGE])
    return LedgerFound(rows, older, tuple(everybody(store)), count(store), asked)


def wanted(query: Query, now: float) -> Search:
    since, before = query.get("since", ""), query.get("before", "")
    if before and not (before.isascii() and before.isdigit() and len(before) < LONGEST_NUMBER):
        raise UsageError(f"{before!r} is no number of an entry", fix="llmlab ledger --last 50")
    found = Search(query.get("kind", ""), query.get("who", ""), query.get("words", ""))
    if since:
        at = datetime.fromtimestamp(now - parse_ttl(since, option="since"), UTC)
        found = replace(found, since=f"{at:%Y-%m-%dT%H:%M:%S}")
    return replace(found, before=int(before or 0))


def gather_entry(desk: Desk, query: Query, visitor: Visitor) -> EntryFound:
    """
    Raises:
        Missing: there is no such entry.
    """
    del visitor
    number, total = query.get("no", ""), count(desk.store)
    known = number.isascii() and number.isdigit() and len(number) <= len(str(total))
    one = desk.store.entry(int(number)) if known else None
    if one is None:
        raise Missing(
            f"the ledger has no entry {number!r}; its last one is {total}",
            fix="llmlab ledger --last 50",
        )
    routes = one.document.get(TRAFFIC)
    changes = tuple(of_traffic(traffic_before(desk.store, one.seq), routes)) if routes else None
    rest = {name: value for name, value in one.document.items() if name != TRAFFIC}
    return EntryFound(Told(one, told(one)), changes, rest, total)


def gather_verdict(desk: Desk, query: Query, visitor: Visitor) -> Verified:
    """
    Raises:
        UsageError: what was noted down is no hash.
    """
    del visitor
    head = checked_head(query.get("head", "").strip().lower())
    return Verified(verify_store(desk.store, head), head)


async def export(request: Request) -> Response:
    """All entries, as `ledger export` writes them: for every visitor, who may read each one anyway.

    Raises:
        HTTPException: it is nobody's request.
    """
    desk = Desk(request.app.state.lab)
    visitor_from(request, desk)
    text = await run_in_threadpool(_exported, desk.store)
    return Response(
        text, media_type="application/jsonl",
        headers={"Content-Disposition": 'attachment; filename="ledger.jsonl"'},
    )  # fmt: skip


def _exported(store: Store) -> str:
    return "".join(exported.lines(store.entries()))


def _entries(found: LedgerFound) -> list[dict[str, Any]]:
    """As ``ledger -o json``: the oldest of them first."""
    return [one.entry.as_json() for one in reversed(found.rows)]


PAGES = (
    Page("ledger", "Ledger", "ledger.html.j2", gather, document=_entries,
         asks=(*FILTERS, "before")),
    Page("ledger/entry", "", "ledger_entry.html.j2", gather_entry, menu="ledger", asks=("no",),
         document=lambda found: found.one.entry),
    Page("ledger/verify", "", "ledger_verify.html.j2", gather_verdict, menu="ledger",
         asks=("head",),
         document=lambda found: found.verdict),
)  # fmt: skip
MORE = (Route("/ledger/export", export),)
