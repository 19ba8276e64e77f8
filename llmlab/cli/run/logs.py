from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.output import Format, OutputOption, err, harmless, out, printable
from llmlab.cli.session import EngineOption, Session

SEPARATOR = " | "  # of a process's name and its line


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
    output: OutputOption = Format.TEXT,
) -> None:
    """Show the logs of the lab's processes.

    Of the gateway's, a line for each request: when, who, what, status, how long, and which
    deployment; of the WAF's, for each finding which rules and where, without what matched.
    With -o json the lines that are JSON, as they were written and nothing before them; how many
    others there were is told on stderr.
    """
    found = Session.of(context).engine(engine).logs(follow=follow, lines=lines, only=process)
    if output is Format.JSON:
        _as_written(found)
    else:
        _for_people(found, narrowed=process)


def _as_written(found: Iterable[str]) -> None:
    others, watched = 0, sys.stdout.isatty()
    for line in found:
        text = line.partition(SEPARATOR)[2]
        if not _is_object(text):
            others += 1
            continue
        sys.stdout.write((harmless(text) if watched else text) + "\n")
        sys.stdout.flush()
    if others:
        verb = "line is" if others == 1 else "lines are"
        err().print(f"{others} {verb} no JSON, and left out: llmlab logs has them.")


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _for_people(found: Iterable[str], *, narrowed: str) -> None:
    from llmlab.cli.run.log_lines import GATEWAY, PIPED, request, shown
    from llmlab.engines.waf import NAME as WAF
    from llmlab.waf.findings import told_of

    console = out()
    width, whole = (console.width, False) if console.is_terminal else (PIPED, True)
    for line in found:
        name, _, text = line.partition(SEPARATOR)
        if name == WAF:
            line = f"{name}{SEPARATOR}{told_of(text)}"
        told = request(text) if name == GATEWAY else None
        if told is None:
            sys.stdout.write(printable(line) + "\n")
        else:
            # Who asked for this log alone knows whose lines these are.
            prefix = "" if narrowed == GATEWAY else f"{name}{SEPARATOR}"
            console.print(
                prefix, shown(told, width - len(prefix), whole=whole), sep="", soft_wrap=True,
                highlight=False, markup=False,
            )  # fmt: skip
        sys.stdout.flush()
