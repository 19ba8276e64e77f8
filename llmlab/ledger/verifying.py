"""Whether the ledger is whole, and whether what is wanted is what it says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from llmlab.errors import UsageError
from llmlab.ledger import chain, exported
from llmlab.ledger.chain import Entry, Verdict, canonical
from llmlab.ledger.store import Store, traffic_in
from llmlab.traffic import Traffic

LAST_CHANGE = """seq = (
    SELECT max(seq) FROM entries WHERE json_type(document, '$.traffic') = 'object'
)"""
HEAD = re.compile(r"[0-9a-f]{12,64}")


def checked_head(given: str) -> str:
    """Raises UsageError: that is no hash of an entry, nor ""."""
    if given and not HEAD.fullmatch(given):
        raise UsageError(
            f"{given!r} is no hash of an entry: at least 12 hexadecimal digits",
            fix="llmlab ledger verify prints the one of the last entry",
        )
    return given


def verify_file(file: Path, head: str = "") -> Verdict:
    """Judge a ledger that was exported.

    Raises:
        UsageError: it is none.
    """
    return chain.verify(exported.read(file), head=head)


def verify_store(store: Store, head: str = "") -> Verdict:
    """Judge a lab's ledger, its file, and what is written down of its traffic."""
    damage = store.database.problems()
    with store.database.reading() as connection:
        verdict = chain.verify(chain.links(connection), head=head)
        for last in chain.entries(connection, LAST_CHANGE):
            if not _says(last, traffic_in(connection)):
                damage.append(
                    f"the routes that are written down are not those of entry {last.seq}, "
                    "which changed them last"
                )
    return replace(verdict, problems=(*verdict.problems, *damage))


def _says(entry: Entry, traffic: Traffic) -> bool:
    """Whether an entry made these routes, however an earlier llmlab spelled them."""
    try:
        return Traffic.parse(canonical(entry.document["traffic"])) == traffic
    except ValueError:
        return False
