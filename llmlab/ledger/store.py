"""What is wanted of a lab, written down together with who wanted it and why."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from llmlab.errors import LlmlabError, unreadable
from llmlab.files import sync_folder
from llmlab.lab import Lab, private_folder
from llmlab.ledger import chain
from llmlab.ledger.database import open_database
from llmlab.traffic import Traffic

FILE = "delivery.db"
TRAFFIC = "traffic"
NOTHING: Mapping[str, str] = MappingProxyType({})


class Store:
    """The delivery database of one lab. It is there once something was changed.

    Every method is one transaction, and may be called by any number of processes at once.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.database = open_database(lab.state / FILE)

    def traffic(self) -> Traffic:
        """What is wanted now."""
        with self.database.reading() as connection:
            return traffic_in(connection)

    def change(
        self,
        kind: str,
        what: Mapping[str, Any],
        change: Callable[[Traffic], Traffic],
        why: str = "",
        *,
        who: str = "",
    ) -> Traffic:
        """Write down a change of the traffic and the entry that tells of it.

        Args:
            kind, what: of the entry; the traffic that comes out of it is added to ``what``.
            change: from what was wanted to what is wanted from now on. Raise to refuse.

        Returns:
            The new traffic; its revision is the entry's number. The same as before, without
            an entry, if nothing changed.
        """
        with self.writing() as connection:
            return change_in(connection, kind, what, change, why, who=who)

    def note(
        self, kind: str, document: Mapping[str, Any], why: str = "", *, who: str = ""
    ) -> chain.Entry:
        """Add an entry that changes nothing here: a key that was revoked, say."""
        with self.noting(kind, document, why, who=who) as entry:
            return entry

    @contextmanager
    def noting(
        self, kind: str, document: Mapping[str, Any], why: str = "", *, who: str = ""
    ) -> Iterator[chain.Entry]:
        """As ``note``, about what is done meanwhile: if that fails, there is no entry."""
        with self.writing() as connection:
            yield chain.append(connection, kind, document, why, who=who)

    def entries(
        self, *, kind: str = "", last: int = 0, about: Mapping[str, str | int] = NOTHING
    ) -> list[chain.Entry]:
        """Entries of the ledger, the oldest first.

        Args:
            kind: only of this one.
            last: only so many of the newest; 0 for all.
            about: only those whose document says this at its top.
        """
        with self.database.reading() as connection:
            return chain.newest(connection, kind=kind, last=last, about=about)

    def entry(self, seq: int) -> chain.Entry | None:
        """The entry with a number; None if there is none."""
        with self.database.reading() as connection:
            return next(chain.entries(connection, "seq = ?", (seq,)), None)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction for several changes."""
        self._lab.make_state()
        private_folder(self.database.file.parent)
        new = not self.database.file.exists()
        with self.database.writing() as connection:
            yield connection
        if new:
            sync_folder(self.database.file.parent)


def traffic_in(connection: sqlite3.Connection) -> Traffic:
    row = connection.execute("SELECT document FROM state WHERE name = ?", (TRAFFIC,)).fetchone()
    if row is None:
        return Traffic()
    try:
        return Traffic.parse(row["document"])
    except ValueError as error:
        raise LlmlabError(
            f"what is written down of the lab's routes cannot be read: {unreadable(error)}",
            fix=f"move .llmlab/{FILE} away; llmlab up then starts from configs/lab.toml",
        ) from error


def change_in(
    connection: sqlite3.Connection,
    kind: str,
    what: Mapping[str, Any],
    change: Callable[[Traffic], Traffic],
    why: str = "",
    *,
    who: str = "",
) -> Traffic:
    """As ``Store.change``, within a transaction."""
    before = traffic_in(connection)
    after = change(before)
    if after == before:
        return before
    seq = connection.execute("SELECT coalesce(max(seq), 0) + 1 FROM entries").fetchone()[0]
    after = after.at(int(seq))
    told = {**what, "traffic": json.loads(after.dump())}
    chain.append(connection, kind, told, why, who=who)
    connection.execute(
        "INSERT INTO state (name, document) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET document = excluded.document",
        (TRAFFIC, after.dump()),
    )
    return after
