"""The schema of what is delivered, and of the ledger of it: one file, so that a change and the
entry that tells of it are one transaction."""

from __future__ import annotations

from pathlib import Path

from llmlab.database import Database, only_grows

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
        damaged=f"move {file} away; llmlab up then starts from configs/lab.toml",
    )  # fmt: skip
