"""Records and moves as they stand in the database. Every function works in one transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any

from llmlab.registry.record import Facts, Move, Record, Target

MOVES = """
    SELECT moves.*, was.name AS was_name, was.version AS was_version, was.id AS was_id,
           now.name AS now_name, now.version AS now_version, now.id AS now_id
    FROM moves LEFT JOIN records AS was ON was.seq = moves.was
               LEFT JOIN records AS now ON now.seq = moves.now
"""


def records(
    connection: sqlite3.Connection, where: str = "TRUE", values: tuple[object, ...] = ()
) -> Iterator[Record]:
    """Records in the order in which they were registered."""
    query = f"SELECT * FROM records WHERE {where} ORDER BY seq"  # noqa: S608  conditions are ours
    for row in connection.execute(query, values).fetchall():
        yield Record(
            id=row["id"], name=row["name"], version=row["version"], created=row["created"],
            facts=Facts.parse(row["facts"]), files=json.loads(row["files"]), bytes=row["bytes"],
            evaluations=tuple(evaluations(connection, row["id"])), removed=row["removed"] or "",
        )  # fmt: skip


def live(
    connection: sqlite3.Connection, where: str = "TRUE", values: tuple[object, ...] = ()
) -> list[Record]:
    """Those of them that were not removed."""
    return list(records(connection, f"removed IS NULL AND ({where})", values))


def evaluations(connection: sqlite3.Connection, model_id: str) -> Iterator[Mapping[str, Any]]:
    query = "SELECT document FROM evaluations WHERE id = ? ORDER BY seq"
    for row in connection.execute(query, (model_id,)):
        yield json.loads(row["document"])


def insert(connection: sqlite3.Connection, record: Record, files: str) -> None:
    connection.execute(
        "INSERT INTO records (name, version, id, created, facts, files, bytes)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (record.name, record.version, record.id, record.created, record.facts.dump(), files,
         record.bytes),
    )  # fmt: skip


def next_version(connection: sqlite3.Connection, name: str) -> int:
    """One above every version of that name, also of those that were removed."""
    query = "SELECT coalesce(max(version), 0) + 1 FROM records WHERE name = ?"
    return int(connection.execute(query, (name,)).fetchone()[0])


def mark_removed(connection: sqlite3.Connection, record: Record, at: str) -> None:
    connection.execute(
        "UPDATE records SET removed = ? WHERE name = ? AND version = ?",
        (at, record.name, record.version),
    )


def aliased(connection: sqlite3.Connection, alias: str) -> Record | None:
    """What an alias points to."""
    where = "seq IN (SELECT now FROM aliases WHERE alias = ?)"
    return next(records(connection, where, (alias,)), None)


def aliases(connection: sqlite3.Connection) -> dict[str, str]:
    """{alias: reference}, by name."""
    query = "SELECT alias, name, version FROM aliases JOIN records ON seq = now ORDER BY alias"
    return {row["alias"]: f"{row['name']}:{row['version']}" for row in connection.execute(query)}


def move(
    connection: sqlite3.Connection,
    alias: str,
    to: Record | None,
    *,
    at: str,
    who: str,
    why: str,
) -> Move:
    """Point an alias somewhere else, or nowhere."""
    before = aliased(connection, alias)
    connection.execute(
        "INSERT INTO moves (alias, was, now, at, who, why) VALUES (?, ?, ?, ?, ?, ?)",
        (alias, _seq(connection, before), _seq(connection, to), at, who, why),
    )
    return Move(alias, _target(before), _target(to), at, who, why)


def moves(connection: sqlite3.Connection, alias: str = "") -> Iterator[Move]:
    """Every move of an alias, or of all, the oldest first."""
    query = f"{MOVES} WHERE ? IN ('', alias) ORDER BY moves.seq"
    for row in connection.execute(query, (alias,)):
        was, now = (
            Target(row[f"{side}_name"], row[f"{side}_version"], row[f"{side}_id"])
            if row[side] is not None
            else None
            for side in ("was", "now")
        )
        yield Move(row["alias"], was, now, row["at"], row["who"], row["why"])


def _seq(connection: sqlite3.Connection, record: Record | None) -> int | None:
    if record is None:
        return None
    query = "SELECT seq FROM records WHERE name = ? AND version = ?"
    return int(connection.execute(query, (record.name, record.version)).fetchone()[0])


def _target(record: Record | None) -> Target | None:
    return Target(record.name, record.version, record.id) if record else None
