"""The ledger: who served what, when and why. Entries can only be added, and each one's hash
covers the one before, so that a changed or missing entry shows.

Whoever can write the file can also write a whole new chain: `verify` finds mistakes and
tampering with single entries, and, given a hash that was noted down elsewhere, a new chain too.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

GENESIS = "0" * 64


@dataclass(frozen=True)
class Entry:
    """One line of the ledger. ``at`` in UTC, ISO 8601 with milliseconds."""

    seq: int
    at: str
    who: str
    kind: str
    document: Mapping[str, Any]
    why: str
    previous: str
    hash: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def append(
    connection: sqlite3.Connection,
    kind: str,
    document: Mapping[str, Any],
    why: str = "",
    *,
    who: str = "",
) -> Entry:
    """Add an entry, within the transaction that makes the change it tells of.

    Args:
        kind: what happened: ``deployment``, ``route``, ``flag``, ``key``, ``rollout``,
            ``verdict`` or ``drill``.
        document: JSON without NaN.
        who: default: the user of this process.
    """
    last = connection.execute("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
    seq, previous = (int(last["seq"]) + 1, str(last["hash"])) if last else (1, GENESIS)
    at, who, text = now(), who or user(), canonical(document)
    digest = _digest(seq, at, who, kind, text, why, previous)
    connection.execute(
        "INSERT INTO entries (seq, at, who, kind, document, why, previous, hash)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (seq, at, who, kind, text, why, previous, digest),
    )
    return Entry(seq, at, who, kind, json.loads(text), why, previous, digest)


def entries(
    connection: sqlite3.Connection, where: str = "TRUE", values: tuple[object, ...] = ()
) -> Iterator[Entry]:
    """Entries, the oldest first."""
    query = f"SELECT * FROM entries WHERE {where} ORDER BY seq"  # noqa: S608  conditions are ours
    for row in connection.execute(query, values):
        yield Entry(
            row["seq"], row["at"], row["who"], row["kind"], json.loads(row["document"]),
            row["why"], row["previous"], row["hash"],
        )  # fmt: skip


def problems(connection: sqlite3.Connection, *, head: str = "") -> list[str]:
    """What is wrong with the chain; nothing if it holds.

    Args:
        head: a hash that was noted down; some entry has to have it.
    """
    found: list[str] = []
    previous, expected, met = GENESIS, 1, not head
    for row in connection.execute("SELECT * FROM entries ORDER BY seq"):
        seq = int(row["seq"])
        if seq != expected:
            found.append(f"entries {expected} to {seq - 1} are missing")
        if row["previous"] != previous:
            found.append(f"entry {seq} does not follow on the one before")
        digest = _digest(
            seq, row["at"], row["who"], row["kind"], row["document"], row["why"], row["previous"]
        )
        if row["hash"] != digest:
            found.append(f"entry {seq} is not as it was written")
        previous, expected = row["hash"], seq + 1
        met = met or row["hash"] == head
    if not met:
        found.append(f"no entry has the hash {head}")
    return found


def canonical(document: Mapping[str, Any]) -> str:
    """Raises ValueError: it holds a NaN or an infinity, which JSON has not."""
    return json.dumps(
        document, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    )


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def user() -> str:
    """The user of this process, as the system knows it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid-{os.geteuid()}"


def _digest(seq: int, *parts: str) -> str:
    text = json.dumps([seq, *parts], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
