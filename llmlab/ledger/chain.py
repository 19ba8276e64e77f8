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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

GENESIS = "0" * 64


class Kind(StrEnum):
    """What an entry tells of."""

    DEPLOYMENT = "deployment"
    ROUTE = "route"
    FLAG = "flag"
    KEY = "key"
    ROLLOUT = "rollout"
    VERDICT = "verdict"
    DRILL = "drill"
    RECORDING = "recording"
    LAB = "lab"
    UPSTREAM = "upstream"
    ISSUERS = "issuers"


@dataclass(frozen=True)
class Link:
    """An entry as its hash covers it: ``text`` is the document, as it was written."""

    seq: int
    at: str
    who: str
    kind: str
    text: str
    why: str
    previous: str
    hash: str

    @property
    def digest(self) -> str:
        """The hash that it should have."""
        return _digest(
            self.seq, self.at, self.who, self.kind, self.text, self.why, self.previous
        )  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What was found of a chain. ``head`` is the hash of its last entry: note it down elsewhere,
    and a later look can tell whether the chain was replaced by another."""

    entries: int
    head: str
    problems: tuple[str, ...]

    @property
    def whole(self) -> bool:
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        return {"whole": self.whole, **asdict(self)}


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
        kind: what happened: a ``Kind``.
        document: JSON without NaN.
        who: default: the user of this process.
    """
    last = connection.execute("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
    seq, previous = (int(last["seq"]) + 1, str(last["hash"])) if last else (1, GENESIS)
    at, who, text = now(), _writable(who or user()), _writable(canonical(document))
    why = _writable(why)
    digest = _digest(seq, at, who, kind, text, why, previous)
    connection.execute(
        "INSERT INTO entries (seq, at, who, kind, document, why, previous, hash)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (seq, at, who, kind, text, why, previous, digest),
    )
    return Entry(seq, at, who, kind, json.loads(text), why, previous, digest)


def entries(
    connection: sqlite3.Connection, where: str = "TRUE", values: tuple[object, ...] = (), *,
    newest_first: bool = False,
) -> Iterator[Entry]:  # fmt: skip
    """Entries, the oldest first."""
    order = "seq DESC" if newest_first else "seq"
    query = f"SELECT * FROM entries WHERE {where} ORDER BY {order}"  # noqa: S608  both are ours
    for row in connection.execute(query, values):
        yield Entry(
            row["seq"], row["at"], row["who"], row["kind"], json.loads(row["document"]),
            row["why"], row["previous"], row["hash"],
        )  # fmt: skip


def newest(
    connection: sqlite3.Connection, *, kind: str = "", last: int = 0,
    about: Mapping[str, str | int] = MappingProxyType({}),
) -> list[Entry]:  # fmt: skip
    """The last entries, the oldest of them first.

    Args:
        kind: only of this one.
        last: so many; 0 for all.
        about: what their documents say at their top.
    """
    conditions = ["kind = ?"] if kind else []
    values: list[object] = [kind] if kind else []
    for name, value in about.items():
        conditions.append("json_extract(document, ?) = ?")
        values += [f'$."{name}"', value]
    condition = " AND ".join(conditions) or "TRUE"
    chosen = f"SELECT seq FROM entries WHERE {condition} ORDER BY seq DESC LIMIT ?"  # noqa: S608
    return list(entries(connection, f"seq IN ({chosen})", (*values, last or -1)))


def problems(connection: sqlite3.Connection, *, head: str = "") -> list[str]:
    """What is wrong with the chain; nothing if it holds. See ``verify``."""
    return list(verify(links(connection), head=head).problems)


def verify(chain: Iterable[Link], *, head: str = "") -> Verdict:
    """Judge a chain, the oldest link first.

    Args:
        head: a hash that was noted down, or its first digits; some entry has to have it.
    """
    found: list[str] = []
    previous, expected, met, count = GENESIS, 1, not head, 0
    for one in chain:
        if one.seq != expected:
            found.append(_gap(expected, one.seq))
        if one.previous != previous:
            found.append(f"entry {one.seq} does not follow on the one before")
        if one.hash != one.digest:
            found.append(f"entry {one.seq} is not as it was written")
        previous, expected, count = one.hash, one.seq + 1, count + 1
        met = met or one.hash.startswith(head)
    if not met:
        found.append(f"no entry has the hash {head}")
    return Verdict(count, previous, tuple(found))


def links(connection: sqlite3.Connection) -> Iterator[Link]:
    """The chain as it is stored."""
    for row in connection.execute("SELECT * FROM entries ORDER BY seq"):
        yield Link(
            int(row["seq"]), row["at"], row["who"], row["kind"], row["document"], row["why"],
            row["previous"], row["hash"],
        )  # fmt: skip


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


def _writable(text: str) -> str:
    """Text without halves of surrogate pairs, which come of arguments that are no UTF-8."""
    return text.encode("utf-8", "replace").decode()


def _gap(expected: int, seq: int) -> str:
    if seq < expected:
        return f"entry {seq} stands where {expected} should"
    return f"entries {expected} to {seq - 1} are missing"


def _digest(seq: int, *parts: str) -> str:
    text = json.dumps([seq, *parts], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
