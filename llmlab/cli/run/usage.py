from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from llmlab.cli.output import err, escaped, print_json, show_warning
from llmlab.cli.session import EngineOption, Session


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

    from llmlab.delivery.adding_up import COLUMNS, add_up, as_csv

    session = Session.of(context)
    found = add_up(session.lab(), session.engine(engine), session.load({}).config, by, since)
    if found.untold:
        show_warning(found.untold)
    rows, titles = found.rows, COLUMNS[1:]
    if output is UsageFormat.JSON:
        print_json([asdict(one) for one in rows])
    elif output is UsageFormat.CSV:
        print(as_csv(rows), end="")
    elif not rows:
        err().print(f"Nothing was used within {since}.", markup=False)
    else:
        from llmlab.cli.table import print_table

        print_table(
            (by, *(title.replace("_", " ") for title in titles)),
            [
                [
                    escaped(one.name) or "-",
                    *(f"{getattr(one, title):,}" for title in titles[:-1]),
                    f"{one.cost:,.4f}" if one.cost else "",
                ]
                for one in rows
            ],
        )
