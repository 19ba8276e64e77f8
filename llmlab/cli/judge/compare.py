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
    PromptOption,
    StrategyOption,
    answers,
    bar,
    chosen_options,
    read_prompts,
)
from llmlab.cli.options import switch
from llmlab.cli.output import Format, OutputOption, err, out, print_json, show_error
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmlab.compare.comparison import Comparison
    from llmlab.evaluate.suite import Case


def compare(
    context: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE|DIR|-...", help="Text files, folders of them, or - for stdin."
        ),
    ] = None,
    models: ModelsOption = None,
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite",
            "-s",
            metavar="NAME|FILE",
            help="What a suite has, texts or conversations, beside or instead of files.",
        ),
    ] = None,
    chat: Annotated[
        bool, switch("--chat", "Each file is a question, and no text to summarize.")
    ] = False,
    prompt: PromptOption = None,
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

    With --chat or a suite of conversations, what they answer. With several --prompt, what one
    model makes of the texts when it is asked by each.

    lead-3 among the models is the rule that every summarizer has to beat: the first
    three sentences.
    """
    import asyncio

    from llmlab.compare.comparison import compare as compare_answers

    session = Session.of(context)
    cases = _cases(session, inputs or [], suite, chat)
    prompts = read_prompts(prompt or [])
    _check(models or [], prompts, cases)
    options = chosen_options(strategy, max_length, min_length)
    if report:
        from llmlab.report.file import check_place

        check_place(report, "--report")
    with bar(len(cases)) as progress:
        found = asyncio.run(
            answers(
                session, models or [], cases, offline=offline, options=options,
                concurrency=concurrency, progress=progress, at_least=2, prompts=prompts,
            )
        )  # fmt: skip
    comparison = compare_answers(cases, found)
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


def _cases(session: Session, inputs: list[str], suite: str | None, chat: bool) -> dict[str, Case]:
    """What is asked, by its name.

    Raises:
        UsageError: nothing is, or it cannot be read.
    """
    from llmlab.client.sources import collect
    from llmlab.errors import UsageError
    from llmlab.evaluate.conversations import asked
    from llmlab.evaluate.suite import Case, find_suite, load_suite

    if not inputs and suite is None:
        raise UsageError(
            "there is nothing to compare models by",
            fix="name a file, - for stdin, or --suite news",
        )
    cases: dict[str, Case] = {}
    if suite is not None:
        root = Path() if Path(suite).is_file() else session.lab().root
        cases = {case.id: case for case in load_suite(find_suite(suite, root)).cases}
    for source in collect(inputs) if inputs else ():
        said = source.read()
        name = source.name
        cases[name] = Case(name, "", messages=asked(said)) if chat else Case(name, said)
    return cases


def _check(models: list[str], prompts: Mapping[str, str], cases: Mapping[str, Case]) -> None:
    """Raises UsageError: these prompts cannot be tried."""
    from llmlab.errors import UsageError

    if not prompts:
        return
    if len(set(models)) != 1:
        raise UsageError("--prompt is for one model", fix="--model NAME, once")
    if any(case.messages for case in cases.values()):
        raise UsageError(
            "a prompt is how a text is asked for; conversations are asked as they are",
            fix="leave --prompt out, or compare by texts",
        )


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
