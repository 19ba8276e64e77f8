from __future__ import annotations

import json
from typing import Annotated

import typer

from llmlab.cli.output import Format, OutputOption, out, print_json
from llmlab.cli.session import Session

app = typer.Typer(
    add_completion=False, help="The configuration as it is in force.", no_args_is_help=True
)


@app.command()
def show(
    context: typer.Context,
    origin: Annotated[
        bool, typer.Option("--origin", metavar="", help="Say where each value came from.")
    ] = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Show every value: flag > environment > lab.toml > default."""
    leaves = list(Session.of(context).load().leaves())
    if output is Format.JSON:
        print_json(
            [{"path": path, "value": value, "origin": where} for path, value, where in leaves]
        )
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for path, value, where in leaves:
        # JSON's way to write a string, a list and a truth value is TOML's too.
        shown = escape(json.dumps(value, ensure_ascii=False))
        table.add_row(path, shown, *([f"[dim]{where}[/]"] if origin else []))
    out().print(table)


@app.command()
def gateway(context: typer.Context) -> None:
    """Print the gateway's whole configuration: nginx.conf with lab/ filled in. No secrets."""
    print(Session.of(context).engine().gateway_configuration(), end="")
