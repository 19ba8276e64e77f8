from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.asking import answers, bar
from llmlab.cli.judge.judge_desk import Desk, desk_of, load_named
from llmlab.cli.output import Format, OutputOption, print_json
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.evaluate.answer import Respondent
    from llmlab.evaluate.suite import Suite
    from llmlab.judging.asking import Cost, Judged
    from llmlab.judging.calibration import Calibration, JudgeShown

app = typer.Typer(
    add_completion=False,
    help="A judge: a language model that says which of two answers is better, once calibrated.",
    no_args_is_help=True,
)
SuiteOption = Annotated[
    str | None,
    typer.Option(
        "--suite", "-s", metavar="NAME|FILE", help="Of configs/suites, or a file; else judge.suite."
    ),
]  # fmt: skip
AtOnceOption = Annotated[
    int,
    typer.Option(
        "--concurrency", "-c", metavar="N", min=1, max=64, help="Pairs at a time; never changes "
        "what is asked.",
    ),
]  # fmt: skip
SeedOption = Annotated[int, typer.Option(metavar="N", min=0, help="Of everything random.")]
SIDE = "A deployment, or a FILE.jsonl of answers."
AGAIN = 2  # every second pair is asked about once more, for the noise


@app.command()
def calibrate(
    context: typer.Context,
    suite: SuiteOption = None,
    pairs: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=10_000, help="To ask about; else judge.pairs."),
    ] = None,
    concurrency: AtOnceOption = 4,
    seed: SeedOption = 1,
    output: OutputOption = Format.TEXT,
) -> None:
    """Hold the judge against pairs whose answers are known; exit 8 if it may not judge.

    Each pair is a good answer of the suite beside a damaged one, or beside itself. The judge is
    asked both ways around, and about every second pair once more. What comes of it is kept until
    the judge, its rubric or the suite is another one.
    """
    import asyncio
    from dataclasses import asdict

    from llmlab.errors import GateFailure
    from llmlab.judging.calibration import problems
    from llmlab.judging.known import known_pairs

    session = Session.of(context)
    desk = desk_of(session)
    name, judged_by = load_named(session, suite or desk.bounds.suite)
    known = known_pairs(judged_by, pairs or desk.bounds.pairs, seed)
    with bar(len(known)) as shown:
        judged, held, cost = asyncio.run(
            desk.ask(known, seed, concurrency, shown.step, again=AGAIN)
        )
    found = _calibration(desk, name, judged_by, judged, held=held, cost=cost, seed=seed)
    desk.kept.add(found)
    why = list(problems(found.figures, desk.bounds))
    if output is Format.JSON:
        print_json({**asdict(found), "valid": not why, "problems": why})
    else:
        from llmlab.cli.judge.judge_view import print_calibration

        print_calibration(found, why)
    if why:
        raise typer.Exit(GateFailure.exit_code)


@app.command()
def compare(
    context: typer.Context,
    a: Annotated[
        str, typer.Argument(metavar="A", autocompletion=completing.deployments, help=SIDE)
    ],
    b: Annotated[
        str, typer.Argument(metavar="B", autocompletion=completing.deployments, help=SIDE)
    ],
    suite: SuiteOption = None,
    at_least: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", min=0.0, max=1.0,
            help="Exit 8 unless the whole interval of A's win rate is at or above it.",
        ),
    ] = None,
    concurrency: AtOnceOption = 4,
    seed: SeedOption = 1,
    output: OutputOption = Format.TEXT,
) -> None:  # fmt: skip
    """Have the judge say which of two models answers a suite better; exit 8 if it may not judge.

    A and B are deployments, or files of answers: {"id": "...", "answer": "..."} for each case.
    """
    import asyncio
    from dataclasses import asdict

    from llmlab.cli.judge.judge_view import print_preference
    from llmlab.errors import GateFailure, UsageError
    from llmlab.judging import answer_file
    from llmlab.judging.sides import paired

    if a == b:
        raise UsageError(f"{a} is compared with itself", fix="name two")
    session = Session.of(context)
    desk = desk_of(session)
    deployed = [session.deployment(one) for one in (a, b) if not answer_file.is_file(one)]
    calibrated = desk.allowed_for(deployed)
    _, judged_by = load_named(session, suite or desk.bounds.suite)
    told = _answers(session, (a, b), judged_by, concurrency, seed)
    both = paired(judged_by, told[a], told[b])
    with bar(len(both.pairs)) as shown:
        found = asyncio.run(
            desk.compare(
                judged_by, (a, b), both, calibrated=calibrated, at_least=at_least,
                concurrency=concurrency, seed=seed, done=shown.step,
            )
        )  # fmt: skip
    if output is Format.JSON:
        print_json(asdict(found))
    else:
        print_preference(found)
    if found.passed is False:
        raise typer.Exit(GateFailure.exit_code)
    if both.failed:
        raise typer.Exit(both.failed[0].exit_code)


@app.command()
def show(context: typer.Context, output: OutputOption = Format.TEXT) -> None:
    """Show who judges, and whether it may: what its calibration has found."""
    from dataclasses import asdict

    desk = desk_of(Session.of(context))
    latest, why = desk.standing()
    document: JudgeShown = {
        "judge": desk.whom.deployment, "model_id": desk.whom.model_id,
        "rubric": desk.rubric.digest, "valid": not why, "problems": why,
        "calibration": latest,
    }  # fmt: skip
    if output is Format.JSON:
        print_json({**document, "calibration": latest and asdict(latest)})
        return
    from llmlab.cli.judge.judge_view import print_judge

    print_judge(document)


def _calibration(
    desk: Desk, name: str, suite: Suite, judged: list[Judged], *, held: bool, cost: Cost, seed: int
) -> Calibration:
    from datetime import UTC, datetime

    from llmlab.judging.calibration import Calibration, Key, figures_of, missed
    from llmlab.judging.question import PROTOCOL

    key = Key(desk.whom.model_id, desk.rubric.digest, name, suite.digest, PROTOCOL)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return Calibration(
        desk.whom.deployment, key, when, seed, held, figures_of(judged), missed(judged), cost
    )


def _answers(
    session: Session, sides: tuple[str, str], suite: Suite, concurrency: int, seed: int
) -> dict[str, Respondent]:
    """Who answered what, by the name that was given: from files, and from deployments."""
    import asyncio
    from pathlib import Path

    from llmlab.judging import answer_file

    files = [one for one in sides if answer_file.is_file(one)]
    told = {one: answer_file.read_answers(Path(one), suite) for one in files}
    if names := [one for one in sides if one not in told]:
        cases = {case.id: case for case in suite.cases}
        with bar(len(cases)) as shown:
            found = asyncio.run(
                answers(session, names, cases, offline=False, options={},
                        concurrency=concurrency, progress=shown, seed=seed)
            )  # fmt: skip
        told |= {one.name: one for one in found}
    return told
