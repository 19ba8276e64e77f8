from __future__ import annotations

import sys
from typing import Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.output import printable
from llmlab.cli.session import EngineOption, Session


def logs(
    context: typer.Context,
    process: Annotated[
        str,
        typer.Argument(
            autocompletion=completing.logs,
            help="Only logs whose name holds this: gateway, api-textrank, ...",
        ),
    ] = "",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", metavar="", help="Go on as lines come.")
    ] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", metavar="N", min=0, help="Lines of each log.")
    ] = 20,
    engine: EngineOption = None,
) -> None:
    """Show the logs of the lab's processes."""
    for line in Session.of(context).engine(engine).logs(follow=follow, lines=lines, only=process):
        sys.stdout.write(printable(line) + "\n")
        sys.stdout.flush()
