"""The tree of verbs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmlab import __version__
from llmlab.cli import (
    build,
    compare,
    config,
    doctor,
    down,
    evaluate,
    init,
    keys,
    load,
    logs,
    models,
    notebook,
    openapi,
    status,
    suite,
    summarize,
    token,
    tune,
    up,
)
from llmlab.cli.session import Session

app = typer.Typer(
    help="A language model behind a real gateway, with one command.",
    epilog="First steps: llmlab init lab && cd lab && llmlab up && llmlab summarize FILE",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"llmlab {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    lab: Annotated[
        Path | None,
        typer.Option("--lab", metavar="DIR", help="The lab; default: the one around this folder."),
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", callback=_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    context.obj = Session(lab)


RUN, USE, JUDGE = "Run the lab", "Use it", "Measure, judge and better it"
PREPARE = "Prepare and look after it"

app.command("up", rich_help_panel=RUN)(up.up)
app.command("down", rich_help_panel=RUN)(down.down)
app.command("status", rich_help_panel=RUN)(status.status)
app.command("logs", rich_help_panel=RUN)(logs.logs)
app.command("summarize", rich_help_panel=USE)(summarize.summarize)
app.command("token", rich_help_panel=USE)(token.token)
app.command("notebook", rich_help_panel=USE)(notebook.notebook)
app.command("openapi", rich_help_panel=USE)(openapi.openapi)
app.command("load", rich_help_panel=JUDGE)(load.load)
app.command("compare", rich_help_panel=JUDGE)(compare.compare)
app.command("evaluate", rich_help_panel=JUDGE)(evaluate.evaluate)
app.command("tune", rich_help_panel=JUDGE)(tune.tune)
app.command("init", rich_help_panel=PREPARE)(init.init)
app.command("doctor", rich_help_panel=PREPARE)(doctor.doctor)
app.add_typer(models.app, name="models", rich_help_panel=PREPARE)
app.add_typer(suite.app, name="suite", rich_help_panel=JUDGE)
app.add_typer(keys.app, name="keys", rich_help_panel=PREPARE)
app.add_typer(config.app, name="config", rich_help_panel=PREPARE)
app.command("build", rich_help_panel=PREPARE)(build.build)
