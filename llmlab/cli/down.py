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
    session = Session.of(context)
    chosen = session.engine(engine)
    if dry_run:
        print_commands(chosen.down_commands(volumes=volumes))
        return
    with progress("stopping"):
        was_running = chosen.down(volumes=volumes)
    if was_running:
        from llmlab.delivery.noting import lab_is_down

        lab_is_down(session.store(), chosen.name)
    err().print("[bold green]✓[/] The lab is down." if was_running else "Nothing was running.")
