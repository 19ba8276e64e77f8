"""The schema of the registry's database."""

from __future__ import annotations

from pathlib import Path

from llmlab.database import Database, not_replaced, only_grows

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
        *only_grows("moves"),
        *only_grows("evaluations"),
        not_replaced("records"),
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


def open_database(file: Path) -> Database:
    """The registry in a file."""
    return Database(
        file, MIGRATIONS,
        damaged=f"move {file.parent} away as a whole; its models/ can be added again",
    )  # fmt: skip
