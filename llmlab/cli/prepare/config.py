from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmlab.cli.options import switch
from llmlab.cli.output import Format, OutputOption, out, print_json
from llmlab.cli.prepare.openapi import openapi
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.cli.documents import Value

app = typer.Typer(
    add_completion=False,
    help="The configuration as it is in force, and what follows from it.",
    no_args_is_help=True,
)


@app.command()
def show(
    context: typer.Context,
    origin: Annotated[bool, switch("--origin", "Say where each value came from.")] = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Show every value: flag > environment > lab.toml > default. Where a lab runs that was brought
    up with another value, --origin shows that as well."""
    session = Session.of(context)
    leaves = list(session.load().leaves())
    running = _running(session) if origin or output is Format.JSON else {}
    if output is Format.JSON:
        print_json([_document(*leaf, running) for leaf in leaves])
        return
    from rich.table import Table

    table = Table(box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for path, value, where in leaves:
        said = [f"[dim]{where}[/]"] if origin else []
        if running.get(path, value) != value:
            said.append(f"[yellow]the running lab: {_shown(running[path])}[/]")
        table.add_row(path, _shown(value), *said)
    out().print(table)


def _document(path: str, value: Any, origin: str, running: dict[str, Any]) -> Value:
    found: Value = {"path": path, "value": value, "origin": origin}
    if path in running:
        found["running"] = running[path]
    return found


def _shown(value: Any) -> str:
    from rich.markup import escape

    # JSON's way to write a string, a list and a truth value is TOML's too.
    return escape(json.dumps(value, ensure_ascii=False))


def _running(session: Session) -> dict[str, Any]:
    """Path -> value of what the running lab was brought up with; {} if none runs."""
    from llmlab.config.load import leaves_of
    from llmlab.engines.choice import running_engine
    from llmlab.engines.record import Record

    record = Record.read(session.lab())
    if record is None or running_engine(session.lab()) is None:
        return {}
    return dict(leaves_of(record.plan().config))


@app.command()
def gateway(context: typer.Context) -> None:
    """Print the gateway's whole configuration: nginx.conf with lab/ filled in. No secrets."""
    from llmlab.engines.console import without_secret

    session = Session.of(context)
    print(without_secret(session.lab(), session.engine().gateway_configuration()), end="")


app.command()(openapi)
