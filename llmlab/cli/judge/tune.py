from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.options import ComputeType
from llmlab.cli.output import Format, OutputOption, err, print_json
from llmlab.cli.session import Session

HOW, END = "How it is trained", "What happens in the end"


def tune(
    context: typer.Context,
    base: Annotated[
        str,
        typer.Option(
            "--base",
            "-b",
            metavar="MODEL",
            autocompletion=completing.models,
            help="scratch:tiny, a model of the lab, a folder like a hub snapshot, or a .gguf file.",
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            "-d",
            metavar="FILE",
            help='Pairs, one {"text", "summary", "must_mention"?} a line; for a language model '
            'also {"prompt" or "messages", "reference"}. A suite with references is such a file.',
        ),
    ],
    name: Annotated[str, typer.Option("--name", "-n", metavar="NAME", help="Of what comes out.")],
    until: Annotated[
        str | None,
        typer.Option(
            metavar="CONDITIONS",
            help='A gate such as "coverage>=0.8": rounds of tuning until the validation part '
            "passes it, then the last test. Exit 8 unless it is accepted.",
        ),
    ] = None,
    max_rounds: Annotated[
        int, typer.Option("--max-rounds", metavar="K", min=1, max=50, help="With --until.")
    ] = 3,
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite",
            "-s",
            metavar="NAME|FILE",
            help="The last test, made once. Default: a tenth of the data, which is held back.",
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What a gate compares with. Default: the base."),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="20m", help="Time for all of it: 90s, 20m, 1.5h.")
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            metavar="",
            rich_help_panel=HOW,
            help="Train all weights, rather than LoRA's. Always so from scratch, and never of a "
            "language model.",
        ),
    ] = False,
    epochs: Annotated[
        float | None, typer.Option(metavar="N", rich_help_panel=HOW, help="Of one round.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(metavar="N", rich_help_panel=HOW, help="Examples of a step.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(metavar="X", rich_help_panel=HOW, help="The learning rate.")
    ] = None,
    patience: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            rich_help_panel=HOW,
            help="A round ends after so many looks at the validation part without a better loss.",
        ),
    ] = 3,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, rich_help_panel=HOW, help="Of everything random.")
    ] = 1,
    force_overlap: Annotated[
        bool,
        typer.Option(
            "--force-overlap",
            metavar="",
            rich_help_panel=HOW,
            help="Though the data shares texts with a suite; the record says so.",
        ),
    ] = False,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh",
            metavar="",
            rich_help_panel=HOW,
            help="Begin anew, instead of taking up a tune that was broken off.",
        ),
    ] = False,
    compute_type: Annotated[
        ComputeType | None,
        typer.Option(rich_help_panel=END, help="What ctranslate2 converts it to."),
    ] = None,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep",
            metavar="",
            rich_help_panel=END,
            help="Register the model even if it is not accepted.",
        ),
    ] = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Tune a model, judge it, and register it with all that is known of it.

    If it is broken off or killed, the same command goes on from its last checkpoint.
    """  # fmt: skip
    from llmlab.cli.judge.tune_view import print_result, shown
    from llmlab.errors import GateFailure
    from llmlab.tune import Request
    from llmlab.tune.request import parse_budget
    from llmlab.tune.tune import tune as tune_model

    session = Session.of(context)
    request = Request(
        base=base, data=data, name=name, suite=suite, until=until, max_rounds=max_rounds,
        baseline=baseline, full=full, budget=None if budget is None else parse_budget(budget),
        epochs=epochs, batch=batch, rate=rate, patience=patience, seed=seed,
        compute_type=compute_type and compute_type.value, force_overlap=force_overlap,
        keep=keep, fresh=fresh,
    )  # fmt: skip
    try:
        with shown() as listener:
            result = tune_model(session.lab(), session.catalogue(), request, listener)
    except KeyboardInterrupt:
        err().print("Broken off. The same command goes on from the last checkpoint.")
        raise
    if output is Format.JSON:
        print_json(result.as_json())
    else:
        print_result(result)
    if not result.outcome.is_good:
        raise typer.Exit(GateFailure.exit_code)
