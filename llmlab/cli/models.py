from __future__ import annotations

from typing import Annotated

import typer

from llmlab.cli.output import Format, OutputOption, err, out, print_json
from llmlab.cli.session import Session

app = typer.Typer(help="The lab's models: list, fetch, inspect.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="A model of configs/lab.toml.")]


@app.command("list")
def list_(context: typer.Context, output: OutputOption = Format.TEXT) -> None:
    """List the configured models, and whether they can be served right now."""
    from llmlab.models import availability

    session = Session.of(context)
    config, root = session.load().config, session.lab().root
    rows = []
    for name, model in config.models.items():
        found = availability(name, model, root)
        role = "stable" if name == config.stable else "fallback" if name == config.fallback else ""
        rows.append({
            "name": name, "role": role, "runtime": model.runtime, "source": model.source,
            "ready": found.ready, "reason": found.reason, "fix": found.fix,
        })  # fmt: skip
    if output is Format.JSON:
        print_json(rows)
        return
    from rich.table import Table

    table = Table("model", "role", "runtime", box=None, header_style="bold")
    for title in ("source", "ready"):
        table.add_column(title, overflow="fold")
    for row in rows:
        ready = "[green]yes[/]" if row["ready"] else f"[yellow]no[/]: {row['reason']}"
        table.add_row(str(row["name"]), str(row["role"]), str(row["runtime"]),
                      str(row["source"]), ready)  # fmt: skip
    out().print(table)


@app.command()
def pull(context: typer.Context, name: Name) -> None:
    """Download a model, or what is missing of it, verify every file, and convert it."""
    from llmlab.models import pull as pull_model
    from llmlab.models.sources import checked_name

    session = Session.of(context)
    model = checked_name(name, session.load().config.models)
    folder = pull_model(name, model, session.lab().root, say=lambda text: err().print(text))
    if folder is None:
        err().print(f"[bold green]✓[/] {name} is part of llmlab; there is nothing to fetch.")
    else:
        err().print(f"[bold green]✓[/] {name}: every file verified.", highlight=False)
        print(folder)


@app.command()
def show(context: typer.Context, name: Name, output: OutputOption = Format.TEXT) -> None:
    """Show what is known of a model: source, content id, files, decoding."""
    from llmlab.models import inspect
    from llmlab.models.sources import checked_name

    session = Session.of(context)
    model = checked_name(name, session.load().config.models)
    facts = inspect(name, model, session.lab().root)
    if output is Format.JSON:
        print_json(facts)
        return
    console = out()
    for key, value in facts.items():
        console.print(f"[bold]{key:<16}[/]", end="")
        if isinstance(value, list):
            console.print()
            for file in value:
                console.print(f"  {file['bytes']:>13,}  {file['name']}", highlight=False)
        else:
            console.print(str(value), markup=False, highlight=False, soft_wrap=True)
