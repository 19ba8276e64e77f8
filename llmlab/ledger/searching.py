"""Looking for entries of the ledger: by kind, by who, by when, and by words."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

from llmlab.ledger import chain
from llmlab.ledger.chain import Entry
from llmlab.ledger.store import Store
from llmlab.ledger.telling import TRAFFIC, told

LEAST_OF_HASH = 6  # digits; fewer are any word


@dataclass(frozen=True)
class Search:
    """What is looked for; "" and 0 for whatever.

    Args:
        words: in what an entry tells, in its reason, or at the beginning of its hash.
        since: in UTC, ISO 8601, as entries say it.
        before: only entries with smaller numbers.
    """

    kind: str = ""
    who: str = ""
    words: str = ""
    since: str = ""
    before: int = 0

    def conditions(self) -> tuple[str, tuple[object, ...]]:
        said = {
            "kind = ?": self.kind, "who = ?": self.who, "at >= ?": self.since,
            "seq < ?": self.before,
        }  # fmt: skip
        wanted = {condition: value for condition, value in said.items() if value}
        return " AND ".join(wanted) or "TRUE", tuple(wanted.values())

    def is_met(self, entry: Entry) -> bool:
        """Whether an entry says these words, as a person reads it."""
        words = self.words.strip().casefold()
        if not words or (len(words) >= LEAST_OF_HASH and entry.hash.startswith(words)):
            return True
        said = "\n".join((told(entry), entry.why, entry.kind, entry.who))
        return words in said.casefold()


def search(store: Store, wanted: Search, most: int) -> list[Entry]:
    """The newest first. Of the entries with these words as many are read as it takes to find
    so many."""
    where, values = wanted.conditions()
    with store.database.reading() as connection:
        found = chain.entries(connection, where, values, newest_first=True)
        return list(islice(filter(wanted.is_met, found), most))


def everybody(store: Store) -> list[str]:
    """Whoever has an entry."""
    with store.database.reading() as connection:
        return [row["who"] for row in connection.execute(
            "SELECT DISTINCT who FROM entries ORDER BY who"
        )]  # fmt: skip


def count(store: Store) -> int:
    with store.database.reading() as connection:
        return int(connection.execute("SELECT count(*) FROM entries").fetchone()[0])


def traffic_before(store: Store, seq: int) -> Any:
    """The routes that an entry's own followed on, as they were written; None for none."""
    has_some = f"json_type(document, '$.{TRAFFIC}') = 'object'"
    with store.database.reading() as connection:
        found = chain.entries(connection, f"seq < ? AND {has_some}", (seq,), newest_first=True)
        return next((one.document[TRAFFIC] for one in found), None)
