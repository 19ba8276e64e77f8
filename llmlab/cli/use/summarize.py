from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli.endings import INTERRUPTED
from llmlab.cli.options import DeploymentOption
from llmlab.cli.output import (
    Format,
    OutputOption,
    err,
    escaped,
    out,
    print_json,
    printable,
    show_error,
)
from llmlab.cli.session import Session
from llmlab.cli.use.reading import bars

if TYPE_CHECKING:
    from llmlab.client.batch import Outcome, Summaries
    from llmlab.service.schemas import Usage


class Language(StrEnum):
    CURL = "curl"
    PYTHON = "python"
    OPENAI = "openai"


class StrategyName(StrEnum):
    AUTO = "auto"
    TRUNCATE = "truncate"
    FULL = "full"


def summarize(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|DIR|-...", help="Text files, folders of them, or - for stdin."
        ),
    ],
    model: DeploymentOption = None,
    max_length: Annotated[
        int | None, typer.Option(metavar="N", help="Longest summary, in the model's tokens.")
    ] = None,
    min_length: Annotated[int | None, typer.Option(metavar="N", help="Shortest summary.")] = None,
    strategy: Annotated[
        StrategyName | None,
        typer.Option(
            help="auto (default): all of it, window by window; truncate: the model's first "
            "window; full: all of it at once."
        ),
    ] = None,
    concurrency: Annotated[
        int,
        typer.Option("--concurrency", "-c", metavar="N", min=1, max=64, help="Requests at a time."),
    ] = 4,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="Seconds for one try.")
    ] = 150.0,
    retry: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0, help="Seconds during which to ask again; 0 = never."
        ),
    ] = 60.0,
    as_: Annotated[
        Language | None,
        typer.Option(
            "--as", help="Print the request instead of sending it; openai: for OpenAI's package."
        ),
    ] = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Summarize texts through the lab's gateway."""  # fmt: skip
    import asyncio

    from llmlab.client import RetryPolicy
    from llmlab.client.batch import summarize_all
    from llmlab.client.client import AsyncClient
    from llmlab.client.sources import collect

    session = Session.of(context)
    sources = collect(inputs)
    model = model and session.deployment(model)
    options = {
        "model": model, "max_length": max_length, "min_length": min_length,
        "strategy": strategy and strategy.value,
    }  # fmt: skip
    if as_:
        for source in sources:
            _print_request(session, as_, source.name, options)
        return
    client = AsyncClient(lab=session.folder, timeout=timeout, retry=RetryPolicy(retry))
    told: list[Outcome] = []
    interrupted = False
    with bars(len(sources)) as reading:

        def tell(outcome: Outcome) -> None:
            told.append(outcome)
            if output is Format.TEXT or outcome.error:
                with reading.aside():
                    _print(outcome, output, several=len(sources) > 1)

        try:
            asyncio.run(
                summarize_all(
                    client, sources, options=options, concurrency=concurrency,
                    listener=reading, tell=tell,
                )
            )  # fmt: skip
        except KeyboardInterrupt:
            interrupted = True
    failed = [one.error for one in told if one.error]
    unfinished = len(sources) - len(told)
    if output is Format.JSON:
        document: Summaries = {
            "results": [one.as_json() for one in told],
            "failed": len(failed), "unfinished": unfinished,
        }  # fmt: skip
        print_json(document)
    if interrupted:
        if len(sources) > 1:
            err().print(_so_far(len(told) - len(failed), len(failed), unfinished), highlight=False)
        raise typer.Exit(INTERRUPTED)
    if failed:
        raise typer.Exit(failed[0].exit_code)


def _so_far(done: int, failed: int, unfinished: int) -> str:
    also = f", {failed} failed" if failed else ""
    return f"[yellow]Interrupted:[/] {done} of {done + failed + unfinished} texts summarized{also}."


def _print(one: Outcome, output: Format, *, several: bool) -> None:
    """An outcome for people; of one that is told as JSON, only the error."""
    if one.error and several:
        err().print(one.name, style="bold", markup=False, highlight=False)
    if one.error:
        show_error(one.error)
    elif one.summary and output is Format.TEXT:
        if several:
            _print_text(f"== {one.name}")
        _print_text(one.summary.text)
        _print_note(one)
        if several:
            print()
    sys.stdout.flush()


def _print_text(text: str) -> None:
    """Whole words on a terminal, one untouched line for everything else."""
    console = out()
    if console.is_terminal:
        console.print(printable(text), markup=False, highlight=False)
    else:
        print(text)


def _print_note(one: Outcome) -> None:
    """Which model answered, for a person who watches; what was cut off, for everybody."""
    assert one.summary
    model, usage = one.summary.model, one.summary.usage
    console = err()
    unit = "words" if model.runtime == "extractive" else "tokens"
    if console.is_terminal:
        windows = f" in {usage.windows} windows" if usage.windows > 1 else ""
        asked = one.summary.deployment
        by = f" by {escaped(asked)}" if asked not in ("", model.name) else ""
        console.print(
            f"[dim]{model.name} ({model.runtime}){by}, {usage.input_tokens} {unit}{windows}, "
            f"{usage.output_tokens} out, {one.seconds:.1f} s[/]",
            highlight=False,
        )
    if usage.truncated:
        console.print(
            f"[yellow]Note:[/] {escaped(one.name)} {_cut(usage, unit)}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip


def _cut(usage: Usage, unit: str) -> str:
    if usage.windows > 1:
        return f"was read in {usage.windows} windows, but parts of it were left out."
    return (
        f"is longer than the model's window; only its first {usage.input_tokens} {unit} were read "
        "(--strategy auto reads all of it)."
    )


def _print_request(
    session: Session, language: Language, name: str, options: dict[str, str | int | None]
) -> None:
    from llmlab.client.credentials import resolve
    from llmlab.client.snippets import as_curl, as_openai, as_python

    found = resolve(None, None, session.folder)
    snippets = {Language.CURL: as_curl, Language.PYTHON: as_python, Language.OPENAI: as_openai}
    print(snippets[language](found.url, Path(name), options, lab=session.folder, trust=found.trust))
