from __future__ import annotations

from typing import Annotated

import typer

from llmlab.cli.output import DryRunOption, err, print_commands, progress
from llmlab.cli.session import EngineOption, Session


def down(
    context: typer.Context,
    volumes: Annotated[
        bool,
        typer.Option("--volumes", metavar="", help="Remove the containers' volumes as well."),
    ] = False,
    engine: EngineOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Stop the lab. Nothing is left running."""
    chosen = Session.of(context).engine(engine)
    if dry_run:
        print_commands(chosen.down_commands(volumes=volumes))
        return
    with progress("stopping"):
        was_running = chosen.down(volumes=volumes)
    err().print("[bold green]✓[/] The lab is down." if was_running else "Nothing was running.")
