from __future__ import annotations

import re
import time
from enum import StrEnum
from typing import Annotated

import typer

from llmlab.cli.output import err, escaped, print_json, show_warning
from llmlab.cli.session import EngineOption, Session

BY = ("subject", "model", "route", "day")
CLAIM = re.compile(r"(?:claim:)?([A-Za-z0-9_.:/@-]{1,128})")


class UsageFormat(StrEnum):
    TEXT = "text"
    JSON = "json"
    CSV = "csv"


def usage(
    context: typer.Context,
    by: Annotated[
        str,
        typer.Option(
            metavar="WHAT",
            help="subject, model, route, day, or a claim that a budget is by: team.",
        ),
    ] = "subject",
    since: Annotated[
        str, typer.Option(metavar="TIME", help="How far back, in whole hours: 90m, 24h, 7d.")
    ] = "7d",
    engine: EngineOption = None,
    output: Annotated[
        UsageFormat,
        typer.Option("--output", "-o", help="text for people, json or csv for programs."),
    ] = UsageFormat.TEXT,
) -> None:
    """Add up the tokens that were used, and what they cost."""
    from dataclasses import asdict

    from llmlab.auth.tokens import parse_ttl
    from llmlab.errors import UsageError
    from llmlab.usage.store import Books
    from llmlab.usage.telling import untold

    if not CLAIM.fullmatch(by):
        raise UsageError(f"--by {by!r} is no claim", fix=f"use {', '.join(BY)}, or claim:NAME")
    session = Session.of(context)
    chosen = session.engine(engine)
    begin = time.time() - parse_ttl(since, option="--since")
    lab = session.lab()
    books = Books(lab.state)
    if lab.logs.exists():  # else it was never up
        books.take(chosen.name, chosen.requests_since)
    conf = lab.nginx_conf
    text = conf.read_text(encoding="utf-8", errors="replace") if conf.exists() else ""
    if why := untold(session.load({}).config, text):
        show_warning(why)
    rows = books.rows(by if by in BY else f"claim:{by.removeprefix('claim:')}", begin)
    if output is UsageFormat.JSON:
        print_json([asdict(one) for one in rows])
    elif output is UsageFormat.CSV:
        import csv
        import sys

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("name", *TITLES))
        writer.writerows(asdict(one).values() for one in rows)
    elif not rows:
        err().print(f"Nothing was used within {since}.", markup=False)
    else:
        from llmlab.cli.table import print_table

        print_table(
            (by, *(title.replace("_", " ") for title in TITLES)),
            [
                [
                    escaped(one.name) or "-",
                    *(f"{getattr(one, title):,}" for title in TITLES[:-1]),
                    f"{one.cost:,.4f}" if one.cost else "",
                ]
                for one in rows
            ],
        )


TITLES = ("requests", "refused", "estimated", "tokens_in", "tokens_out", "cost")
