from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.options import switch
from llmlab.cli.output import Format, OutputOption, err, out, print_json
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.evaluate.lint import Spread
    from llmlab.evaluate.suite import Suite

app = typer.Typer(
    add_completion=False,
    help="The suites of texts that models are judged by.",
    no_args_is_help=True,
)
Name = Annotated[
    str, typer.Argument(metavar="SUITE", help="A name in configs/suites, or a .jsonl file.")
]


@app.command("lint")
def lint_(context: typer.Context, suite: Name, output: OutputOption = Format.TEXT) -> None:
    """Check a suite for what would make it judge wrongly. Exit code 1 if there is an error."""
    from llmlab.evaluate.lint import Severity, lint

    read = _load(context, suite)
    findings = lint(read)
    errors = sum(one.severity is Severity.ERROR for one in findings)
    if output is Format.JSON:
        print_json([asdict(one) for one in findings])
    else:
        from llmlab.cli.output import escaped
        from llmlab.cli.table import print_table

        colours = {Severity.ERROR: "red", Severity.WARNING: "yellow"}
        if findings:
            print_table(
                ("line", "id", "", "finding"),
                [
                    (str(one.line or ""), escaped(one.id or read.name),
                     f"[{colours[one.severity]}]{one.severity}[/]", escaped(one.message))
                    for one in findings
                ],
            )  # fmt: skip
        warnings = len(findings) - errors
        mark = "[bold red]✗[/]" if errors else "[bold green]✓[/]"
        err().print(
            f"{mark} {read.name}: cases {len(read.cases)}, errors {errors}, warnings {warnings}",
            highlight=False,
        )
    if errors:
        raise typer.Exit(1)


@app.command()
def stats(context: typer.Context, suite: Name, output: OutputOption = Format.TEXT) -> None:
    """Show what is in a suite, and how far the first three sentences of its texts get."""
    from llmlab.evaluate.lint import suite_stats

    found = suite_stats(_load(context, suite))
    if output is Format.JSON:
        print_json(asdict(found))
        return
    from rich.table import Table

    table = Table(box=None, show_header=False)
    for name, value in (
        ("suite", found.name),
        ("content", found.digest),
        ("cases", f"{found.cases}, {found.references} with a reference"),
        ("of them conversations", str(found.conversations)),
        ("must mention", f"{found.facts} facts"),
        ("must not mention", f"{found.forbidden}"),
        ("cases with a check", _counted(found.checks)),
        ("words that are asked", _spread(found.asked_words)),
        ("words of a text", _spread(found.text_words)),
        ("words of a reference", _spread(found.reference_words)),
        ("where facts stand", _spread(found.fact_position, share=True)),
        ("novel 2-grams of a reference", _share(found.reference_novelty)),
        ("lead-3: ROUGE-1 (proxy)", _share(found.lead3_rouge1)),
        ("lead-3: facts mentioned (proxy)", _share(found.lead3_coverage)),
    ):
        table.add_row(f"[bold]{name}[/]", value)
    out().print(table, highlight=False)


@app.command("from")
def from_(
    context: typer.Context,
    recording: Annotated[
        str,
        typer.Argument(
            metavar="RECORDING",
            autocompletion=completing.recordings,
            help="See llmlab record list.",
        ),
    ],
    name: Annotated[str, typer.Option(metavar="NAME", help="Of the suite, in configs/suites.")],
    count: Annotated[
        int, typer.Option("--count", "-n", metavar="N", min=1, help="Cases, at most.")
    ] = 50,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE.jsonl",
            help="Training data that no case may be a near copy of; as often as needed.",
        ),
    ] = None,
    with_answers: Annotated[
        bool, switch("--with-answers", "What was answered then is each case's reference.")
    ] = False,
    redact: Annotated[
        bool,
        switch(
            "--redact/--no-redact", "Secrets and addresses in texts are named, not kept; or not."
        ),
    ] = True,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the choice.")] = 1,
    output: OutputOption = Format.TEXT,
) -> None:
    """Make a suite of what was recorded: drawn, none like another, and none seen in training.

    Cases are labelled with what a request says of its answer: its JSON schema, and the language
    where question and answer were in the same one. The suite is a plain file: read it before you
    share it.
    """  # fmt: skip
    from llmlab.replaying.making import Wish, make_suite

    session = Session.of(context)
    wish = Wish(recording, name, count, tuple(data or ()), with_answers, redact, seed)
    made = make_suite(session.lab(), session.registry(), wish)
    if output is Format.JSON:
        print_json(made)
        return
    console = err()
    for why, many in made["left_out"].items():
        console.print(f"Left out: {many}, {why}.", highlight=False)
    if made["without_schema"]:
        console.print(
            f"Without their JSON schema, which is not taken: {made['without_schema']}.",
            highlight=False,
        )
    for unseen in made["unseen_data"]:
        console.print(
            f"[yellow]Note:[/] not held against {unseen}, which --data can name",
            highlight=False,
        )
    console.print(
        f"[bold green]✓[/] {made['file']}: cases {made['cases']}. They are what people have "
        "written: read them before you share them.",
        highlight=False,
    )


def _load(context: typer.Context, name: str) -> Suite:
    from llmlab.evaluate.suite import find_suite, load_suite

    # A file can be looked at anywhere; a name belongs to a lab.
    root = Path() if Path(name).is_file() else Session.of(context).lab().root
    return load_suite(find_suite(name, root))


def _spread(spread: Spread | None, *, share: bool = False) -> str:
    if spread is None:
        return "-"
    form = "{:.0%}" if share else "{:.0f}"
    least, median, greatest = (
        form.format(one) for one in (spread.least, spread.median, spread.greatest)
    )
    return f"{median} (median), {least} to {greatest}"


def _counted(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in found.items()) or "-"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
