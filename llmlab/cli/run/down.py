from __future__ import annotations

from typing import Annotated

import typer

from llmlab.cli.options import switch
from llmlab.cli.output import DryRunOption, err, print_commands, progress, show_warning
from llmlab.cli.session import EngineOption, Session


def down(
    context: typer.Context,
    volumes: Annotated[
        bool,
        switch("--volumes", "Remove the containers' volumes as well."),
    ] = False,
    engine: EngineOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Stop the lab. Nothing is left running."""
    from llmlab.engines.turns import processes_turn

    session = Session.of(context)
    chosen = session.engine(engine)
    if dry_run:
        print_commands(chosen.down_commands(volumes=volumes))
        return
    with processes_turn(session.lab()):
        with progress("stopping"):
            was_running = chosen.down(volumes=volumes)
        if was_running:
            _note(session, chosen.name)
        left = chosen.status().warnings
    for warning in left:
        show_warning(warning)
    err().print("[bold green]✓[/] The lab is down." if was_running else "Nothing was running.")


def _note(session: Session, engine: str) -> None:
    """In the ledger, if it can be written: to stop a lab needs no disk."""
    from llmlab.delivery.noting import lab_is_down
    from llmlab.errors import LlmlabError
    from llmlab.failures import explained

    try:
        lab_is_down(session.store(), engine)
    except (LlmlabError, OSError) as error:
        known = error if isinstance(error, LlmlabError) else explained(error)
        if known is None:
            raise
        show_warning(f"The ledger has no entry of this: {known.message}\nFix: {known.fix}")
