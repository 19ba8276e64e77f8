"""From a reference to the record that it means. Every function works in one transaction."""

from __future__ import annotations

import sqlite3

from llmlab.errors import UsageError
from llmlab.models import store
from llmlab.registry import rows
from llmlab.registry.record import Record
from llmlab.registry.reference import ById, ByName, parse


def find(connection: sqlite3.Connection, reference: str) -> Record | None:
    """
    Raises:
        UsageError: it cannot be a reference, or means several models.
    """
    wanted = parse(reference)
    if isinstance(wanted, ById):
        return _by_id(connection, wanted.digits)
    if wanted.version:
        where, values = "name = ? AND version = ?", (wanted.name, wanted.version)
        return next(iter(rows.live(connection, where, values)), None)
    if aliased := rows.aliased(connection, wanted.name):
        return aliased
    there = rows.live(connection, "name = ?", (wanted.name,))
    return max(there, key=lambda one: one.version, default=None)


def get(connection: sqlite3.Connection, reference: str) -> Record:
    """As ``find``. Raises UsageError: there is no such model."""
    if record := find(connection, reference):
        return record
    wanted = parse(reference)
    if isinstance(wanted, ByName) and wanted.version:
        where, values = "name = ? AND version = ?", (wanted.name, wanted.version)
        for gone in rows.records(connection, where, values):
            raise UsageError(f"{reference} was removed on {gone.removed}")
    there = [one.reference for one in rows.live(connection)]
    raise UsageError(
        f"no model {reference!r} is registered; there are: {', '.join(there) or 'none'}",
        fix="llmlab models add FOLDER --name NAME",
    )


def _by_id(connection: sqlite3.Connection, digits: str) -> Record | None:
    """Of several records of one content, the first."""
    there = rows.live(connection, "id >= ? AND id < ?", _range(digits))
    if not there:  # then they may be those of a converted model, as every answer tells them
        made_of = {
            source for made, source in store.origins() if made.startswith(f"sha256:{digits}")
        }
        there = [one for source in made_of for one in rows.live(connection, "id = ?", (source,))]
    if len(ids := {one.id for one in there}) > 1:
        raise UsageError(
            f"sha256:{digits} means {len(ids)} models: {', '.join(sorted(ids))}",
            fix="give more digits",
        )
    return there[0] if there else None


def _range(digits: str) -> tuple[str, str]:
    """The ids that begin so: `g` comes after every hex digit."""
    return f"sha256:{digits}", f"sha256:{digits}g"
