from __future__ import annotations

import os
from dataclasses import asdict

import typer

from llmlab.cli.output import Format, OutputOption, out, print_json
from llmlab.cli.session import EngineOption, Session

MARKS = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[red]fail[/]"}


def doctor(
    context: typer.Context,
    engine: EngineOption = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Check the machine and the lab. Exit code 3 if something has to be fixed first."""
    from rich.markup import escape

    from llmlab.doctor import Verdict, examine

    session = Session.of(context)
    config = session.load({"engine": engine and engine.value}).config
    checks = []
    for check in examine(session.lab(), config, os.environ):
        checks.append(check)
        if output is Format.TEXT:
            console = out()
            console.print(
                f"{MARKS[check.verdict]} [bold]{check.name:<12}[/] {escape(check.message)}",
                highlight=False, soft_wrap=True,
            )  # fmt: skip
            if check.fix and check.verdict is not Verdict.OK:
                console.print(
                    f"     [green]Fix:[/] {escape(check.fix)}", highlight=False, soft_wrap=True
                )
    if output is Format.JSON:
        print_json([asdict(check) for check in checks])
    if any(check.verdict is Verdict.FAIL for check in checks):
        raise typer.Exit(3)
