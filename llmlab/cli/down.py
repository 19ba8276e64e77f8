from __future__ import annotations

import typer

from llmlab.cli.output import err, progress
from llmlab.cli.session import Session


def down(context: typer.Context) -> None:
    """Stop the lab. Nothing is left running."""
    engine = Session.of(context).engine()
    with progress("stopping"):
        was_running = engine.down()
    err().print("[bold green]✓[/] The lab is down." if was_running else "Nothing was running.")
