from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.asking import (
    ConcurrencyOption,
    MaxLengthOption,
    MinLengthOption,
    OfflineOption,
    PromptOption,
    StrategyOption,
    answers,
    bar,
    chosen_options,
    read_prompts,
)
from llmlab.cli.options import switch
from llmlab.cli.output import Format, OutputOption, err, print_json, show_error
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.cli.judge.judge_desk import Desk
    from llmlab.evaluate.answer import Respondent
    from llmlab.evaluate.evaluation import Evaluation
    from llmlab.evaluate.suite import Suite
    from llmlab.judging.calibration import Calibration
    from llmlab.judging.preference import Compared


def evaluate(
    context: typer.Context,
    suite: Annotated[
        str,
        typer.Option(
            "--suite", "-s", metavar="NAME|FILE", help="A suite of configs/suites, or a file."
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            autocompletion=completing.models,
            help="The model to judge.",
        ),
    ],
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            "-b",
            metavar="NAME",
            autocompletion=completing.models,
            help="The model it is compared with.",
        ),
    ] = None,
    gate: Annotated[
        str | None,
        typer.Option(
            metavar="CONDITIONS",
            help='What must hold, such as "rougeLsum>=-0.01 coverage>=+0.05 p95<=1.2x"; exit 8 if '
            "it does not, or if the suite does not decide.",
        ),
    ] = None,
    prompt: PromptOption = None,
    offline: OfflineOption = False,
    strategy: StrategyOption = None,
    max_length: MaxLengthOption = None,
    min_length: MinLengthOption = None,
    concurrency: ConcurrencyOption = 1,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of everything random.")] = 1,
    judge: Annotated[
        bool,
        switch("--judge", "Have the lab's judge say as well which of the two answers better."),
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page that shows it all.")
    ] = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Judge a model by a suite: beside lead-3 and the embedded model, against a baseline.

    A suite has texts to summarize, or conversations, which a chat model answers. With --prompt a
    chat model is judged by that prompt on texts; with a second --prompt, against that one.

    Measures on words (ROUGE, coverage, unsupported names, ...) are proxies: they show that
    something changed, and where to look.
    """  # fmt: skip
    import asyncio
    from dataclasses import asdict

    from llmlab.evaluate.evaluation import evaluate as judge_answers
    from llmlab.evaluate.gate import parse_gate
    from llmlab.evaluate.suite import find_suite, load_suite

    session = Session.of(context)
    conditions = parse_gate(gate) if gate is not None else None
    prompts = read_prompts(prompt or [])
    judged, held_against = _sides(model, baseline, list(prompts))
    if conditions and conditions.needs_baseline and held_against is None:
        _refuse_without_baseline(conditions.text)
    if report:
        from llmlab.report.file import check_place

        check_place(report, "--report")
    beside = _desk(session, model, baseline, held_against) if judge else None
    judged_by = load_suite(find_suite(suite, session.lab().root))
    if prompts and judged_by.chats:
        _refuse_prompts(judged_by)
    options = chosen_options(strategy, max_length, min_length)
    cases = {case.id: case for case in judged_by.cases}
    with bar(len(cases)) as progress:
        found = asyncio.run(
            answers(
                session, _names(model, baseline), cases, offline=offline, options=options,
                concurrency=concurrency, progress=progress, beside=True, prompts=prompts,
                seed=seed,
            )
        )  # fmt: skip
        progress.say("judging")
        by_name = {one.name: one for one in found}
        evaluation = judge_answers(
            judged_by, by_name[judged], by_name[held_against] if held_against else None,
            seed=seed, options=options, gate=conditions,
            beside=[one for one in found if one.name not in (judged, held_against)],
        )  # fmt: skip
    preference = beside and _preference(
        beside, judged_by, by_name[judged], by_name[held_against or ""], concurrency, seed
    )
    if report:
        from llmlab.evaluate.page import page
        from llmlab.report.file import write

        write(report, page(evaluation))
    if output is Format.JSON:
        told = preference and asdict(preference)
        print_json({**evaluation.as_json(), "preference": told})
    else:
        from llmlab.cli.judge.scores import print_evaluation

        print_evaluation(evaluation)
        if preference:
            from llmlab.cli.judge.judge_view import print_preference

            print_preference(preference)
    if report:
        err().print(f"[bold green]✓[/] {report}", highlight=False)
    _note(session, evaluation)
    _end(evaluation)


def _refuse_without_baseline(conditions: str) -> None:
    from llmlab.errors import UsageError

    raise UsageError(
        f'--gate "{conditions}" compares with a baseline, and none is named',
        fix="--baseline NAME, or plain bounds such as coverage>=0.8",
    )


def _desk(
    session: Session, model: str, baseline: str | None, held_against: str | None
) -> tuple[Desk, Calibration]:
    """The judge, and the calibration by which it may judge.

    Raises:
        GateFailure: it may not.
        UsageError: there is no judge, it is one of the two, or there is nothing to prefer.
    """
    from llmlab.answers.sources import LEAD
    from llmlab.cli.judge.judge_desk import desk_of
    from llmlab.errors import UsageError

    if held_against is None:
        raise UsageError("a judge compares, and no baseline is named", fix="--baseline NAME")
    desk = desk_of(session)
    named = [one for one in (model, baseline) if one and one != LEAD]
    return desk, desk.allowed_for(map(session.deployment, named))


def _preference(
    beside: tuple[Desk, Calibration], suite: Suite, a: Respondent, b: Respondent,
    concurrency: int, seed: int,
) -> Compared:  # fmt: skip
    import asyncio

    from llmlab.judging.sides import paired

    desk, calibrated = beside
    both = paired(suite, a, b)
    with bar(len(both.pairs)) as shown:
        return asyncio.run(
            desk.compare(
                suite, (a.name, b.name), both, calibrated=calibrated, at_least=None,
                concurrency=concurrency, seed=seed, done=shown.step,
            )
        )  # fmt: skip


def _refuse_prompts(suite: Suite) -> None:
    from llmlab.errors import UsageError

    raise UsageError(
        f"a prompt is how a text is asked for, and {suite.name} has conversations, which are asked "
        "as they are",
        fix="--suite news, or another one of texts",
    )


def _sides(model: str, baseline: str | None, prompts: list[str]) -> tuple[str, str | None]:
    """Who is judged, and against whom, as the answers call them.

    Raises:
        UsageError: there would be more than one baseline.
    """
    from llmlab.errors import UsageError

    if len(prompts) > 2 or (len(prompts) == 2 and baseline):
        raise UsageError(
            "the first --prompt is judged, and the second one is its baseline; there is no third",
            fix="leave --baseline out, or look at several with llmlab compare",
        )
    if len(prompts) == 2:
        return prompts[0], prompts[1]
    return (prompts[0] if prompts else model), baseline


def _names(model: str, baseline: str | None) -> list[str]:
    return [model, baseline] if baseline else [model]


def _note(session: Session, evaluation: Evaluation) -> None:
    """Add the result to the record of the model that answered, if that one is registered."""
    model_id = evaluation.model.model_id
    if not model_id.startswith("sha256:"):
        return
    registry = session.registry()
    record = registry.find(model_id)
    if record is None:
        return
    registry.append_evaluation(record.reference, evaluation.facts())
    err().print(f"Noted in the record of {record.reference}.", highlight=False)


def _end(evaluation: Evaluation) -> None:
    from llmlab.errors import GateFailure
    from llmlab.evaluate.verdict import Outcome

    failures = [error for one in evaluation.judged for error in one.failures.values()]
    if failures:
        err().print(f"[yellow]Note:[/] {len(failures)} answers failed; the first one:")
        show_error(failures[0])
    if evaluation.verdict:
        if evaluation.verdict.outcome is not Outcome.PASS:
            raise typer.Exit(GateFailure.exit_code)
    elif failures:
        raise typer.Exit(failures[0].exit_code)
