"""SQLite files that are changed in whole transactions only: the registry's, and the ledger's.

They keep a rollback journal, not a write-ahead log: that needs memory which all processes
share, and folders shared between machines have none. Writes are few. EXTRA is FULL, and has
the end of a transaction on the disk as well before it says so.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from llmlab.errors import EnvironmentFailure, LlmlabError, unreadable

BUSY = 30.0  # seconds that a process waits for another one's transaction; those are short
NEEDED = (3, 37)  # of SQLite, for STRICT

UNDECODABLE = "Could not decode to UTF-8"

Migrations = Sequence[Sequence[str]]


def only_grows(table: str) -> tuple[str, ...]:
    """Triggers by which the rows of a table, whose key is ``seq``, can only be added to."""
    return (
        *(
            f"""CREATE TRIGGER {table}_are_not_{past} BEFORE {verb} ON {table}
                BEGIN SELECT RAISE(ABORT, '{table} are not {past}'); END"""
            for verb, past in (("UPDATE", "changed"), ("DELETE", "deleted"))
        ),
        not_replaced(table),
    )


def not_replaced(table: str) -> str:
    """A trigger against INSERT OR REPLACE, which deletes without asking other triggers."""
    return f"""CREATE TRIGGER {table}_are_not_replaced BEFORE INSERT ON {table}
        WHEN EXISTS (SELECT 1 FROM {table} WHERE seq = NEW.seq)
        BEGIN SELECT RAISE(ABORT, '{table} are not replaced'); END"""  # noqa: S608


class Database:
    """Gives connections, each inside of one transaction. The file comes with the first write.

    Args:
        migrations: the statements for each version of the schema, to get there from the one
            before.
        damaged: what to do about a file that is no database any more.
        is_lost: of an empty file, whether it was not empty before; one that was made just now
            is empty as well.
    """

    def __init__(
        self, file: Path, migrations: Migrations, *, damaged: str,
        is_lost: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        self._is_lost = is_lost
        self.file = file
        self._migrations = migrations
        self._damaged = damaged

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent view; of an empty database, where there is none yet."""
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
                f"Python's SQLite is {sqlite3.sqlite_version}, and llmlab needs 3.37",
                fix="use a Python with a newer SQLite, such as one from python.org",
            )
        exists = self.file.exists()
        if exists and not self.file.stat().st_size and self._is_lost():
            raise LlmlabError(f"{self.file} is empty, and was not before", fix=self._damaged)
        if create and not exists:
            os.close(os.open(self.file, os.O_CREAT | os.O_RDWR, 0o600))
        where = self.file if create or exists else ":memory:"
        return sqlite3.connect(where, timeout=BUSY, isolation_level=None)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.row_factory = sqlite3.Row
        for pragma in ("foreign_keys = ON", "synchronous = EXTRA", "journal_mode = DELETE"):
            connection.execute(f"PRAGMA {pragma}")
        if _version(connection) == len(self._migrations):
            return
        connection.execute("BEGIN IMMEDIATE")
        version = _version(connection)  # somebody may have been faster
        if version > len(self._migrations):
            raise EnvironmentFailure(
                f"{self.file} was written by a newer llmlab", fix="use that one, or a newer one"
            )
        for statements in self._migrations[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(self._migrations)}")
        connection.execute("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise  # a mistake of whoever asked
        except sqlite3.OperationalError as error:
            if str(error).startswith(UNDECODABLE):  # it goes on with all that was read
                raise LlmlabError(
                    f"{self.file} is damaged: a text in it is no UTF-8", fix=self._damaged
                ) from None
            raise EnvironmentFailure(
                f"{self.file} cannot be used: {error}",
                fix=f"df -h {self.file.parent} and ls -l {self.file}, for space and permissions; "
                "if it is locked, try again",
            ) from error
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise LlmlabError(
                f"{self.file} is damaged: {unreadable(error)}", fix=self._damaged
            ) from error
        except sqlite3.DatabaseError as error:
            raise LlmlabError(f"{self.file} is damaged: {error}", fix=self._damaged) from error


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
