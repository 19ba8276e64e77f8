from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.asking import ConcurrencyOption, OfflineOption, answers, bar
from llmlab.cli.output import Format, OutputOption, err, print_json, show_error
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.evaluate.gate import Gate
    from llmlab.replaying.judging import Replayed


STABLE = "stable"  # no model, but the place that one has


class Pace(StrEnum):
    FAST = "fast"
    REAL = "real"


def replay(
    context: typer.Context,
    recording: Annotated[
        str,
        typer.Argument(
            metavar="RECORDING",
            autocompletion=completing.recordings,
            help="See llmlab record list.",
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
        str,
        typer.Option(
            "--baseline",
            "-b",
            metavar="NAME",
            autocompletion=completing.models,
            help="The model it is held against; stable: what the route's traffic gets now.",
        ),
    ] = STABLE,
    pace: Annotated[
        Pace, typer.Option(help="real: as far apart as they came; fast: as soon as there is room.")
    ] = Pace.FAST,
    gate: Annotated[
        str,
        typer.Option(
            metavar="CONDITIONS",
            show_default=False,
            help="What must hold; default: what a rollout on this route asks of texts. Exit code 8 "
            "if it does not, or if the requests do not decide.",
        ),
    ] = "",
    offline: OfflineOption = False,
    concurrency: ConcurrencyOption = 4,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of everything random.")] = 1,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write a page that shows it all, for you alone."),
    ] = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Ask what was recorded again, of two models, and judge one against the other.

    Both are asked each request with its own options (max_tokens, temperature, response_format);
    what is equal is asked once. A seed that a request did not name is made of --seed, so that
    the same recording gives the same verdict again, as far as models honour a seed.
    """  # fmt: skip
    import asyncio

    from llmlab.recording.store import Recordings
    from llmlab.replaying.cases import questions
    from llmlab.replaying.judging import judged

    session = Session.of(context)
    if report:
        from llmlab.report.file import check_place

        check_place(report, "--report")
    recordings = Recordings(session.lab())
    route = recordings.get(recording).route
    held_against = _stable(session, route, offline) if baseline == STABLE else baseline
    _refuse_itself(model, held_against)
    conditions = _gate(session, route, gate)
    asked = questions(recording, recordings.records(recording))
    cases = {case.id: case for case in asked.suite.cases}
    with bar(len(cases)) as progress:
        found = asyncio.run(
            answers(
                session, [model, held_against], cases, offline=offline, options={},
                concurrency=concurrency, progress=progress, seed=seed,
                each={one.case.id: one.options for one in asked.asked},
                after={one.case.id: one.after for one in asked.asked}
                if pace is Pace.REAL
                else None,
            )
        )  # fmt: skip
        progress.say("judging")
        candidate, other = found
        replayed = judged(asked, candidate, other, conditions, seed=seed, pace=pace.value)
    if report:
        from llmlab.evaluate.page import page
        from llmlab.report.file import write

        write(report, page(replayed.evaluation), private=True)
    if output is Format.JSON:
        print_json(replayed.as_json())
    else:
        from llmlab.cli.judge.scores import print_evaluation

        print_evaluation(replayed.evaluation)
        _tell(replayed)
    if report:
        err().print(f"[bold green]✓[/] {report}", highlight=False)
    _end(replayed)


def _stable(session: Session, route: str, offline: bool) -> str:
    """What the traffic of a route gets."""
    from llmlab.engines.record import Record
    from llmlab.errors import UsageError

    record = None if offline else Record.read(session.lab())
    routes = record.plan().routes if record else session.load().config.served
    if route not in routes:
        raise UsageError(
            f"the lab has no route {route} any more, so nothing is stable there",
            fix="--baseline NAME",
        )
    return record.plan().leading(route) if record else routes[route]


def _refuse_itself(model: str, baseline: str) -> None:
    from llmlab.errors import UsageError

    if model == baseline:
        raise UsageError(
            f"{model} is what it would be held against", fix="--baseline NAME, of another one"
        )


def _gate(session: Session, route: str, said: str) -> Gate:
    from llmlab.errors import UsageError
    from llmlab.evaluate.gate import parse_gate
    from llmlab.names import SUMMARIZE

    rules = session.load().config.rollout
    text = said or (rules.text_gate if route == SUMMARIZE else rules.chat_gate)
    if not text:
        raise UsageError(
            "rollouts of this lab judge no texts, so there is no gate to go by",
            fix='--gate "empty<=+0.02 length<=1.5x"',
        )
    return parse_gate(text)


def _tell(replayed: Replayed) -> None:
    questions = replayed.questions
    for why, count in questions.left_out.items():
        err().print(f"Not asked again: {count}, {why}.", highlight=False)
    if questions.without_schema:
        err().print(
            f"Not held against its JSON schema, which is not taken: {questions.without_schema}.",
            highlight=False,
        )
    if replayed.not_judged:
        told = ", ".join(replayed.not_judged)
        err().print(f"Not to be measured on these requests: {told}.", highlight=False)


def _end(replayed: Replayed) -> None:
    from llmlab.errors import GateFailure
    from llmlab.evaluate.verdict import Outcome

    failures = [error for one in replayed.evaluation.judged for error in one.failures.values()]
    if failures:
        err().print(f"[yellow]Note:[/] {len(failures)} answers failed; the first one:")
        show_error(failures[0])
    verdict = replayed.evaluation.verdict
    if verdict is None or verdict.outcome is not Outcome.PASS:
        raise typer.Exit(GateFailure.exit_code)
