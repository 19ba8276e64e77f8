"""The ledger as a file: one entry a line, as JSON, the oldest first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from llmlab.errors import UsageError, unreadable
from llmlab.ledger.chain import Entry, Link, canonical

TEXTS = ("at", "who", "kind", "why", "previous", "hash")
MEMBERS = {"seq", "document", *TEXTS}


def lines(entries: Iterable[Entry]) -> Iterator[str]:
    """Each with its line break."""
    for entry in entries:
        yield canonical(entry.as_json()) + "\n"


def read(file: Path) -> Iterator[Link]:
    """The chain in a file.

    Raises:
        UsageError: it cannot be read, or a line is no entry.
    """
    try:
        with file.open(encoding="utf-8", newline="\n") as opened:
            for number, line in enumerate(opened, 1):
                yield _link(line, f"{file}, line {number}")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {unreadable(error)}") from None


def _link(line: str, where: str) -> Link:
    try:
        found: Any = json.loads(line)
        problem = _problem(found)
        text = "" if problem else canonical(found["document"])
    except (ValueError, TypeError, RecursionError) as error:
        problem = unreadable(error)
    if problem:
        raise UsageError(
            f"{where}: that is no entry of a ledger: {problem}", fix="llmlab ledger export FILE"
        )
    texts = {name: found[name] for name in TEXTS}
    return Link(seq=found["seq"], text=text, **texts)


def _problem(found: Any) -> str:
    """What speaks against a line being an entry; "" if nothing does."""
    if not isinstance(found, dict) or set(found) != MEMBERS:
        return "its members are not those of an entry"
    if type(found["seq"]) is not int or not all(isinstance(found[name], str) for name in TEXTS):
        return "a member is of another type"
    return ""
