from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli.asking import (
    ConcurrencyOption,
    MaxLengthOption,
    MinLengthOption,
    ModelsOption,
    OfflineOption,
    StrategyOption,
    answers,
    bar,
    chosen_options,
)
from llmlab.cli.output import Format, OutputOption, err, out, print_json, show_error
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.compare.comparison import Comparison


def compare(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|DIR|-...", help="Text files, folders of them, or - for stdin."
        ),
    ],
    models: ModelsOption = None,
    offline: OfflineOption = False,
    strategy: StrategyOption = None,
    max_length: MaxLengthOption = None,
    min_length: MinLengthOption = None,
    concurrency: ConcurrencyOption = 1,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page that shows it all.")
    ] = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Put what several models make of the same texts side by side, and measure it.

    lead-3 among the models is the rule that every summarizer has to beat: the first
    three sentences.
    """
    import asyncio

    from llmlab.client.sources import collect
    from llmlab.compare.comparison import compare as compare_answers

    session = Session.of(context)
    texts = {}
    for source in collect(inputs):
        texts[source.name] = source.read()
    options = chosen_options(strategy, max_length, min_length)
    if report:
        from llmlab.report.file import check_place

        check_place(report, "--report")
    with bar(len(texts)) as progress:
        found = asyncio.run(
            answers(
                session, models or [], texts, offline=offline, options=options,
                concurrency=concurrency, progress=progress, at_least=2,
            )
        )  # fmt: skip
    comparison = compare_answers(texts, found)
    if report:
        from llmlab.compare.page import page
        from llmlab.report.file import write

        write(report, page(comparison))
    if output is Format.JSON:
        print_json(comparison.as_json())
    else:
        _show(comparison)
    if report:
        err().print(f"[bold green]✓[/] {report}", highlight=False)
    _end(comparison)


def _show(comparison: Comparison) -> None:
    from llmlab.cli.judge.side_by_side import PAGE, print_means, print_row

    console = out(PAGE)
    for row in comparison.rows:
        print_row(console, row, named=len(comparison.rows) > 1)
    if len(comparison.rows) > 1:
        print_means(console, comparison)


def _end(comparison: Comparison) -> None:
    failures = comparison.failures
    for failure in failures:
        err().print(f"{failure.model}:", style="bold", markup=False, highlight=False)
        show_error(failure.error)
    if failures:
        raise typer.Exit(failures[0].error.exit_code)
