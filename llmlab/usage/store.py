"""Sums of what was used, by hour: they outlive the gateway's log, which is rotated.

How far the log was read stands in the same transaction as the sums, so that each line counts once,
whoever reads it: the lab's keeper every few seconds, and whoever asks.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from llmlab.config.budgets import MILLIONTHS
from llmlab.database import Database
from llmlab.usage.lines import Used, read

FILE = "usage.db"
HOUR = 3600
COUNTED = ("requests", "refused", "estimated", "tokens_in", "tokens_out", "cost")
KEYS = ("hour", "subject", "deployment", "route", "claims")
_SHARES = {"ray": "local"}  # {engine: the one whose gateway writes the very same file}
_SCHEMA = (
    f"""CREATE TABLE used (
        hour INTEGER NOT NULL, subject TEXT NOT NULL, deployment TEXT NOT NULL,
        route TEXT NOT NULL, claims TEXT NOT NULL,
        {", ".join(f"{name} INTEGER NOT NULL" for name in COUNTED)},
        PRIMARY KEY ({", ".join(KEYS)})
    ) STRICT""",
    "CREATE TABLE places (engine TEXT PRIMARY KEY, cursor TEXT NOT NULL) STRICT",
)
_ADD = f"""INSERT INTO used ({", ".join((*KEYS, *COUNTED))})
    VALUES ({", ".join("?" * len((*KEYS, *COUNTED)))})
    ON CONFLICT ({", ".join(KEYS)}) DO UPDATE SET
    {", ".join(f"{name} = {name} + excluded.{name}" for name in COUNTED)}"""  # noqa: S608
# See ``Engine.requests_since``.
Since = Callable[[str], tuple[list[str], str]]


@dataclass(frozen=True)
class Row:
    """What somebody, or something, has used.

    Args:
        name: a subject, deployment, route, day or value of a claim.
        requests: that a model was asked.
        refused: that did not fit a budget.
        estimated: of the requests, those whose tokens were not counted to the end: what was
            reserved for them, or at most written.
        cost: by the prices in lab.toml, of models that have one.
    """

    name: str
    requests: int
    refused: int
    estimated: int
    tokens_in: int
    tokens_out: int
    cost: float


class Books:
    """Of one lab.

    Args:
        state: its folder, for its owner only.
    """

    def __init__(self, state: Path) -> None:
        self.database = Database(
            state / FILE, (_SCHEMA,),
            damaged=f"move {FILE} out of the way: what is in the gateway's log is added up again",
        )  # fmt: skip

    def take(self, engine: str, since: Since) -> int:
        """Add what the log says that was not read before.

        Args:
            engine: whose log it is: each has places of its own, but for those that share one.

        Returns:
            How many lines were new.
        """
        engine = _SHARES.get(engine, engine)
        with self.database.writing() as connection:
            found = connection.execute("SELECT cursor FROM places WHERE engine = ?", (engine,))
            place = found.fetchone()
            lines, cursor = since(place["cursor"] if place else "0")
            if place and not lines and cursor == place["cursor"]:
                return 0  # a lab that idles writes nothing
            connection.executemany(_ADD, _summed(filter(None, map(read, lines))))
            connection.execute("REPLACE INTO places VALUES (?, ?)", (engine, cursor))
        return len(lines)

    def rows(self, by: str, since: float) -> list[Row]:
        """What was used, by whom or of what: the one with the most tokens first.

        Args:
            by: subject, model, route, day, or claim:NAME.
            since: seconds since 1970; from the hour on in which that is.
        """
        sums: defaultdict[str, list[int]] = defaultdict(lambda: [0] * len(COUNTED))
        with self.database.reading() as connection:
            found = connection.execute("SELECT * FROM used WHERE hour >= ?", (int(since // HOUR),))
            for row in found:
                total = sums[_name(by, row)]
                for place, name in enumerate(COUNTED):
                    total[place] += row[name]
        rows = [
            _row(name, **dict(zip(COUNTED, total, strict=True))) for name, total in sums.items()
        ]
        return sorted(rows, key=lambda one: (-one.tokens_in - one.tokens_out, one.name))


def _summed(lines: Iterable[Used]) -> Iterable[tuple[object, ...]]:
    sums: defaultdict[tuple[object, ...], list[int]] = defaultdict(lambda: [0] * len(COUNTED))
    for one in lines:
        key = int(one.at // HOUR), one.subject, one.deployment, one.route, one.claims
        total = sums[key]
        for place, name in enumerate(COUNTED):
            total[place] += getattr(one, name)
    return [(*key, *total) for key, total in sums.items()]


def _row(name: str, *, cost: int, **counted: int) -> Row:
    return Row(name, cost=cost / MILLIONTHS, **counted)


def _name(by: str, row: sqlite3.Row) -> str:
    if by == "day":
        return datetime.fromtimestamp(row["hour"] * HOUR, UTC).date().isoformat()
    if by.startswith("claim:"):
        return str(json.loads(row["claims"]).get(by.partition(":")[2], ""))
    return str(row["deployment" if by == "model" else by])
