"""What is registered, for whoever only reads it."""

from __future__ import annotations

from pathlib import Path

from llmlab.config import Model
from llmlab.lab import Lab
from llmlab.registry import lookup, rows
from llmlab.registry.contents import Contents
from llmlab.registry.database import open_database
from llmlab.registry.record import Move, Record


class Records:
    """The registered models of one lab; none, before something is registered.

    Every method is one transaction.
    """

    def __init__(self, lab: Lab) -> None:
        self.root = lab.root
        folder = lab.state / "registry"
        self.contents = Contents(folder)
        self.database = open_database(folder / "registry.db")
        self._models = self.contents.models.relative_to(lab.root)

    def records(self, *, removed: bool = False) -> list[Record]:
        """All models, in the order in which they were registered; on demand also those that
        were removed."""
        with self.database.reading() as connection:
            return list(rows.records(connection)) if removed else rows.live(connection)

    def find(self, reference: str) -> Record | None:
        """The model of a reference: NAME (its newest version), NAME:VERSION, an alias, or
        sha256: and at least 8 digits of its content id or of its converted form's.

        Raises:
            UsageError: it cannot be a reference, or means several models.
        """
        with self.database.reading() as connection:
            return lookup.find(connection, reference)

    def get(self, reference: str) -> Record:
        """As ``find``. Raises UsageError: there is no such model."""
        with self.database.reading() as connection:
            return lookup.get(connection, reference)

    def folder(self, record: Record) -> Path | None:
        """Where its files are; None if they are in a hub's cache."""
        return self.contents.models / record.digits if record.owned else None

    def model(self, record: Record) -> Model:
        """The model as lab.toml would define it."""
        return record.model(self._models)

    def aliases(self) -> dict[str, str]:
        """{alias: reference of a model, with its version}."""
        with self.database.reading() as connection:
            return rows.aliases(connection)

    def history(self, alias: str = "") -> list[Move]:
        """Every move of an alias, or of all, the oldest first."""
        with self.database.reading() as connection:
            return list(rows.moves(connection, alias))
