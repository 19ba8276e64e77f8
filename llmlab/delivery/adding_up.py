"""What a lab's models were used for, as `llmlab usage` and the console tell it."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from llmlab.auth.tokens import parse_ttl
from llmlab.config import Config
from llmlab.engines.base import Engine
from llmlab.errors import UsageError
from llmlab.lab import Lab
from llmlab.usage.store import Books, Row
from llmlab.usage.telling import untold

BY = ("subject", "model", "route", "day")
CLAIM = re.compile(r"(?:claim:)?([A-Za-z0-9_.:/@-]{1,128})")
COLUMNS = tuple(one.name for one in fields(Row))
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute begins with these


@dataclass(frozen=True)
class AddedUp:
    """``untold``: why something is missing, and what to do about it; "" where nothing is."""

    rows: tuple[Row, ...]
    untold: str


def add_up(lab: Lab, engine: Engine | None, config: Config, by: str, since: str) -> AddedUp:
    """
    Args:
        engine: whose log is read up to now; None: what was added up until now is told.
        by: subject, model, route, day, or a claim that a budget is by.
        since: how far back, as ``24h``.

    Raises:
        UsageError: it is no claim, or no duration.
    """
    if not CLAIM.fullmatch(by):
        raise UsageError(f"--by {by!r} is no claim", fix=f"use {', '.join(BY)}, or claim:NAME")
    begin = time.time() - parse_ttl(since, option="--since")
    books = Books(lab.state)
    if engine and lab.logs.exists():  # else it was never up
        books.take(engine.name, engine.requests_since)
    conf = lab.nginx_conf
    text = conf.read_text(encoding="utf-8", errors="replace") if conf.exists() else ""
    rows = books.rows(by if by in BY else f"claim:{by.removeprefix('claim:')}", begin)
    return AddedUp(tuple(rows), untold(config, text))


def currency(config: Config) -> str:
    """What costs are told in; "" where budgets say none, or several."""
    told = {one.currency for one in config.budgets if one.currency}
    return told.pop() if len(told) == 1 else ""


def as_csv(rows: Sequence[Row]) -> str:
    """With the names of the columns in the first line. A name that a spreadsheet would take for a
    formula has an apostrophe before it: who gets a token chooses it."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(one) | {"name": _plain(one.name)} for one in rows)
    return text.getvalue()


def _plain(name: str) -> str:
    return f"'{name}" if name.startswith(FORMULA) else name
