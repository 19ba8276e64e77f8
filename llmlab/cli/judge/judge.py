from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.asking import Progress, answers, bar
from llmlab.cli.judge.judge_desk import Desk, desk_of, load_named
from llmlab.cli.output import Format, OutputOption, print_json
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.errors import LlmlabError
    from llmlab.evaluate.suite import Suite
    from llmlab.judging.asking import Cost, Judged
    from llmlab.judging.calibration import Calibration, JudgeShown
    from llmlab.judging.known import Pair

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
Side = Annotated[
    str,
    typer.Argument(
        metavar="NAME|FILE.jsonl", autocompletion=completing.deployments,
        help="A deployment, or answers.",
    ),
]  # fmt: skip
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
            _asked(desk, known, seed, concurrency, shown, calibrating=True)
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
    a: Side,
    b: Side,
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

    from llmlab.errors import GateFailure
    from llmlab.judging import answer_file
    from llmlab.judging.kept import refuse_unless_valid
    from llmlab.judging.preference import Compared, JudgedBy
    from llmlab.judging.whom import refuse_itself

    session = Session.of(context)
    desk = desk_of(session)
    deployed = [session.deployment(one) for one in (a, b) if not answer_file.is_file(one)]
    refuse_itself(desk.whom, deployed, desk.running)
    latest = refuse_unless_valid(desk.whom.deployment, *desk.standing())
    _, judged_by = load_named(session, suite or desk.bounds.suite)
    pairs, missing, failed = _pairs(session, a, b, judged_by, concurrency, seed)
    with bar(len(pairs)) as shown:
        judged, _, cost = asyncio.run(_asked(desk, pairs, seed, concurrency, shown))
    whom, size = desk.whom, len(judged_by.cases)
    found = Compared.of(
        JudgedBy(whom.deployment, whom.model_id, desk.rubric.digest, latest.when),
        {"name": judged_by.name, "digest": judged_by.digest, "n": size},
        (a, b), judged, missing=missing, at_least=at_least, cost=cost,
    )  # fmt: skip
    if output is Format.JSON:
        print_json(asdict(found))
    else:
        from llmlab.cli.judge.judge_view import print_preference

        print_preference(found)
    if found.passed is False:
        raise typer.Exit(GateFailure.exit_code)
    if failed:
        raise typer.Exit(failed[0].exit_code)


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


async def _asked(
    desk: Desk, pairs: list[Pair], seed: int, concurrency: int, shown: Progress, *,
    calibrating: bool = False,
) -> tuple[list[Judged], bool, Cost]:  # fmt: skip
    """What the judge says of pairs, whether it could be held to its form, and what it took."""
    from llmlab.judging.asking import judge_all

    async with desk.judge(seed) as judge:
        judged = await judge_all(
            judge, pairs, concurrency=concurrency, again=AGAIN if calibrating else 0,
            same_is_tie=not calibrating, done=shown.step,
        )  # fmt: skip
        return judged, judge.held, judge.cost


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


def _pairs(
    session: Session, a: str, b: str, suite: Suite, concurrency: int, seed: int
) -> tuple[list[Pair], dict[str, str], list[LlmlabError]]:
    """The answers of both, the cases of which one has none, with why, and what failed.

    Raises:
        UsageError: there is no case that both have answered.
    """
    import asyncio
    from pathlib import Path

    from llmlab.errors import UsageError
    from llmlab.evaluate.answer import Answer
    from llmlab.judging import answer_file
    from llmlab.judging.known import Pair
    from llmlab.judging.question import task_of

    if a == b:
        raise UsageError(f"{a} is compared with itself", fix="name two")
    told: dict[str, dict[str, str]] = {}
    missing: dict[str, str] = {}
    failed: list[LlmlabError] = []
    for one in (a, b):
        if answer_file.is_file(one):
            told[one] = answer_file.read_answers(Path(one), suite)
    names = [one for one in (a, b) if one not in told]
    cases = {case.id: case for case in suite.cases}
    if names:
        with bar(len(cases)) as shown:
            found = asyncio.run(
                answers(session, names, cases, offline=False, options={},
                        concurrency=concurrency, progress=shown, seed=seed)
            )  # fmt: skip
        for model in found:
            said = model.answers.items()
            told[model.name] = {
                key: answer.text for key, answer in said if isinstance(answer, Answer)
            }
            for key, answer in said:
                if not isinstance(answer, Answer):
                    failed.append(answer)
                    missing[key] = f"{model.name}: {answer.message}"
    for one in (a, b):
        absent = [key for key in cases if key not in told[one] and key not in missing]
        missing |= dict.fromkeys(absent, f"{one} has no answer")
    pairs = [
        Pair(key, task_of(case), told[a][key], told[b][key])
        for key, case in cases.items()
        if key not in missing
    ]
    if not pairs:
        raise (
            failed[0]
            if failed
            else UsageError(
                f"there is no case of {suite.name} that both {a} and {b} have answered",
                fix="name the suite that was answered: --suite NAME",
            )
        )
    return pairs, missing, failed
