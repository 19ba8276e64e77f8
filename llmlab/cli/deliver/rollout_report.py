"""`llmlab rollout report`: how a rollout went, on a terminal or as a page."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli.options import RouteOption
from llmlab.cli.output import Format, OutputOption, err, out, print_json
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.rollout.report import Report


def report(
    context: typer.Context,
    number: Annotated[
        int | None,
        typer.Argument(
            metavar="[N]", min=1, show_default=False,
            help="Its number; default: the one under way, or the last one.",
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page that shows it all.")
    ] = None,
    route: RouteOption = "",
    output: OutputOption = Format.TEXT,
) -> None:  # fmt: skip
    """Show how a rollout went: its steps, errors, latency, evidence, verdicts and entries of the
    ledger.

    The page has plots of all of that, needs nothing but itself, and can be sent to anybody.
    """
    from llmlab.report.file import check_place, write
    from llmlab.rollout.report import report as gathered
    from llmlab.rollout.store import Rollouts

    if html:
        check_place(html, "--html")
    session = Session.of(context)
    found = gathered(Rollouts(session.lab()), session.store(), number, time.time(), route)
    if html:
        from llmlab.rollout.page import page

        write(html, page(found))
    if output is Format.JSON:
        print_json(found.as_json())
    else:
        _show(found)
    if html:
        err().print(f"[bold green]✓[/] {html}", highlight=False)


def _show(found: Report) -> None:
    from llmlab.cli.deliver.ledger import print_entries
    from llmlab.cli.deliver.rollout_view import COLORS, MARKS
    from llmlab.cli.output import escaped
    from llmlab.cli.table import print_table
    from llmlab.rollout.page import row, took

    one, console = found.rollout, out()
    color = COLORS[one.phase]
    console.print(
        f"[bold]rollout {one.number}[/]: {one.kind} of [bold]{escaped(one.target)}[/], "
        f"[{color}]{one.phase}[/] [dim]after {took(found.took)}[/]", highlight=False,
    )  # fmt: skip
    verdict = one.verdict
    if one.ending and not (verdict and one.ending == verdict.reason):
        console.print(f"  {escaped(one.ending)}", highlight=False)
    for finding in verdict.findings if verdict else ():
        mark = MARKS.get(finding.outcome, " ")
        console.print(f"  {mark} {escaped(finding.reason)}", highlight=False)
    rows = [row(found, judged) for judged in one.judged]
    if rows:
        console.print()
        print_table(
            ("after", "step", "share", "verdict", "answers", "errors", "p50", "p95"),
            [(one.at, one.step, one.share, one.outcome, one.answers, one.errors, one.p50, one.p95)
             for one in rows],
        )  # fmt: skip
    console.print()
    print_entries(list(found.entries))
