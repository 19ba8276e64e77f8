"""The schema of what is delivered, and of the ledger of it: one file, so that a change and the
entry that tells of it are one transaction."""

from __future__ import annotations

import json
from pathlib import Path

from llmlab.database import Database, only_grows

RUNNING = "running.json"  # `llmlab.engines.record` writes it
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # Each entry's hash covers its content and the hash of the one before.
        """CREATE TABLE entries (
            seq INTEGER PRIMARY KEY,
            at TEXT NOT NULL,
            who TEXT NOT NULL,
            kind TEXT NOT NULL,
            document TEXT NOT NULL CHECK (json_valid(document)),
            why TEXT NOT NULL,
            previous TEXT NOT NULL,
            hash TEXT NOT NULL UNIQUE
        ) STRICT""",
        "CREATE INDEX entries_by_kind ON entries (kind)",
        *only_grows("entries"),
        # What is wanted now: the last row of each name.
        """CREATE TABLE state (
            name TEXT PRIMARY KEY,
            document TEXT NOT NULL CHECK (json_valid(document))
        ) STRICT""",
        """CREATE TABLE rollouts (
            number INTEGER PRIMARY KEY,
            document TEXT NOT NULL CHECK (json_valid(document))
        ) STRICT""",
    ),
)


def open_database(file: Path) -> Database:
    return Database(
        file, MIGRATIONS,
        damaged=f"put a copy from before in its place; without one, move {file} away: "
        "llmlab up then starts from configs/lab.toml",
        is_lost=lambda: _revision_that_ran(file.parent / RUNNING) > 0,
    )  # fmt: skip


def _revision_that_ran(record: Path) -> int:
    """By which entry of the ledger the lab ran last, as far as it is known beside the ledger."""
    try:
        return int(json.loads(record.read_text(encoding="utf-8"))["traffic"]["revision"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
