"""The registry's database: one SQLite file, changed in whole transactions only.

It keeps a rollback journal, not a write-ahead log: that needs memory which all processes
share, and folders shared between machines have none. Writes are few. EXTRA is FULL, and has
the end of a transaction on the disk as well before it says so.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmlab.errors import EnvironmentFailure, LlmlabError

BUSY = 30.0  # seconds that a process waits for another one's transaction; those are short
NEEDED = (3, 37)  # of SQLite, for STRICT

# One tuple of statements for each version of the schema, to get there from the one before.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE records (
            seq INTEGER PRIMARY KEY,
            name TEXT NOT NULL,
            version INTEGER NOT NULL CHECK (version > 0),
            id TEXT NOT NULL CHECK (length(id) = 71),
            created TEXT NOT NULL,
            facts TEXT NOT NULL CHECK (json_valid(facts)),
            files TEXT NOT NULL CHECK (json_valid(files)),
            bytes INTEGER NOT NULL,
            removed TEXT,
            UNIQUE (name, version)
        ) STRICT""",
        "CREATE INDEX records_by_id ON records (id)",
        """CREATE TABLE evaluations (
            seq INTEGER PRIMARY KEY,
            id TEXT NOT NULL,
            at TEXT NOT NULL,
            document TEXT NOT NULL CHECK (json_valid(document)),
            UNIQUE (id, document)
        ) STRICT""",
        """CREATE TABLE moves (
            seq INTEGER PRIMARY KEY,
            alias TEXT NOT NULL,
            was INTEGER REFERENCES records (seq),
            now INTEGER REFERENCES records (seq),
            at TEXT NOT NULL,
            who TEXT NOT NULL,
            why TEXT NOT NULL
        ) STRICT""",
        # Where an alias points is what its last move says: the two cannot differ.
        """CREATE VIEW aliases AS SELECT alias, now FROM moves
            WHERE seq IN (SELECT max(seq) FROM moves GROUP BY alias) AND now IS NOT NULL""",
        *(
            f"""CREATE TRIGGER {table}_are_not_{past} BEFORE {verb} ON {table}
                BEGIN SELECT RAISE(ABORT, '{table} are not {past}'); END"""
            for table in ("moves", "evaluations")
            for verb, past in (("UPDATE", "changed"), ("DELETE", "deleted"))
        ),
        *(  # INSERT OR REPLACE deletes without asking the triggers above
            f"""CREATE TRIGGER {table}_are_not_replaced BEFORE INSERT ON {table}
                WHEN EXISTS (SELECT 1 FROM {table} WHERE seq = NEW.seq)
                BEGIN SELECT RAISE(ABORT, '{table} are not replaced'); END"""  # noqa: S608
            for table in ("moves", "evaluations", "records")
        ),
        """CREATE TRIGGER records_are_not_deleted BEFORE DELETE ON records
            BEGIN SELECT RAISE(ABORT, 'records are not deleted'); END""",
        """CREATE TRIGGER records_are_only_marked BEFORE UPDATE ON records
            WHEN OLD.removed IS NOT NULL OR NEW.removed IS NULL
                OR (OLD.seq, OLD.name, OLD.version, OLD.id, OLD.created, OLD.facts, OLD.files,
                    OLD.bytes)
                IS NOT (NEW.seq, NEW.name, NEW.version, NEW.id, NEW.created, NEW.facts,
                    NEW.files, NEW.bytes)
            BEGIN SELECT RAISE(ABORT, 'records are not changed'); END""",
    ),
)


class Database:
    """Gives connections, each inside of one transaction. The file comes with the first write."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent view; of an empty registry, where there is none yet."""
        with self._connected(create=False) as connection:
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Be the only writer. All of it is in force at the end, or nothing if it raises."""
        with self._connected(create=True) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    def problems(self) -> list[str]:
        """What is wrong with the file itself, in SQLite's words."""
        with self.reading() as connection:
            told = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
            dangling = connection.execute("PRAGMA foreign_key_check").fetchall()
        return [one for one in told if one != "ok"] + [f"{tuple(row)} dangles" for row in dangling]

    @contextmanager
    def _connected(self, *, create: bool) -> Iterator[sqlite3.Connection]:
        with self._explained():
            connection = self._open(create)
            try:
                self._prepare(connection)
                yield connection
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            finally:
                connection.close()

    def _open(self, create: bool) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < NEEDED:
            raise EnvironmentFailure(
                f"Python's SQLite is {sqlite3.sqlite_version}, and the registry needs 3.37",
                fix="use a Python with a newer SQLite, such as one from python.org",
            )
        exists = self.file.exists()
        if create and not exists:
            os.close(os.open(self.file, os.O_CREAT | os.O_RDWR, 0o600))
        where = self.file if create or exists else ":memory:"
        return sqlite3.connect(where, timeout=BUSY, isolation_level=None)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.row_factory = sqlite3.Row
        for pragma in ("foreign_keys = ON", "synchronous = EXTRA", "journal_mode = DELETE"):
            connection.execute(f"PRAGMA {pragma}")
        if _version(connection) == len(MIGRATIONS):
            return
        connection.execute("BEGIN IMMEDIATE")
        version = _version(connection)  # somebody may have been faster
        if version > len(MIGRATIONS):
            raise EnvironmentFailure(
                f"{self.file} was written by a newer llmlab", fix="use that one, or a newer one"
            )
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise  # a mistake of whoever asked
        except sqlite3.OperationalError as error:
            raise EnvironmentFailure(
                f"{self.file} cannot be used: {error}",
                fix="llmlab doctor, for disk and permissions; if it is locked, try again",
            ) from error
        except sqlite3.DatabaseError as error:
            raise LlmlabError(
                f"{self.file} is damaged: {error}",
                fix=f"move {self.file.parent} away as a whole; its models/ can be added again",
            ) from error


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
