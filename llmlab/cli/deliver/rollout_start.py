"""`llmlab rollout start`: one verb for each way in which traffic gets to a candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmlab.cli import completing
from llmlab.cli.deliver.rollout_desk import desk_of, known_of, tell, who
from llmlab.cli.options import RouteOption, WhyOption, switch
from llmlab.cli.output import Format, OutputOption, err, progress
from llmlab.cli.session import Session
from llmlab.names import SUMMARIZE

if TYPE_CHECKING:
    from llmlab.rollout.planning import Known
    from llmlab.rollout.state import Rollout

app = typer.Typer(
    add_completion=False, help="Begin a rollout; a route has one at a time.", no_args_is_help=True
)
ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        autocompletion=completing.models,
        help="A model of lab.toml, a registered one as NAME or NAME:VERSION, or a deployment.",
    ),
]
StepsOption = Annotated[
    str, typer.Option(metavar="P,P,...", help="Percent of the requests, up to 100: 5,25,50,100.")
]
IntervalOption = Annotated[
    str, typer.Option(metavar="TIME", help="What each step takes at least: 60s, 5m.")
]
DeadlineOption = Annotated[
    str,
    typer.Option(
        "--progress-deadline", metavar="TIME", help="When a step without a decision pauses: 30m."
    ),
]
BakeOption = Annotated[
    str,
    typer.Option(
        metavar="TIME", help="What it is watched for after its last step, and still taken back."
    ),
]
TextGateOption = Annotated[
    str | None,
    typer.Option(metavar="CONDITIONS", help='Judge the texts by these; "" judges none.'),
]
AnswerGateOption = Annotated[
    str | None,
    typer.Option(
        metavar="CONDITIONS",
        help='Judge how answers come and end, of a chat route, by these; "" judges nothing.',
    ),
]
PairsOption = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE", min=0, max=1,
        help="Of what the stable version answers, for the candidate as well: 0.05; 0 pairs none.",
    ),
]  # fmt: skip
PairsGateOption = Annotated[
    str | None,
    typer.Option(metavar="BOUNDS", help='Judge these pairs by them; "" pairs none.'),
]
SuiteOption = Annotated[
    str | None,
    typer.Option(
        "--probe-suite", metavar="NAME",
        help="The texts that both are asked for; they count as samples too.",
    ),
]  # fmt: skip
RateOption = Annotated[
    float | None,
    typer.Option("--probe-rate", metavar="N", min=0, max=50, help="So many of them a second."),
]
SamplesOption = Annotated[
    int | None,
    typer.Option("--min-samples", metavar="N", min=1, help="Answers that a step needs at least."),
]


@app.command()
def canary(
    context: typer.Context,
    model: ModelArgument,
    steps: StepsOption = "",
    interval: IntervalOption = "",
    bake: BakeOption = "",
    progress_deadline: DeadlineOption = "",
    text_gate: TextGateOption = None,
    probe_suite: SuiteOption = None,
    probe_rate: RateOption = None,
    min_samples: SamplesOption = None,
    answer_gate: AnswerGateOption = None,
    pairs: PairsOption = None,
    pairs_gate: PairsGateOption = None,
    route: RouteOption = "",
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Give MODEL a growing part of the requests; whoever has it keeps it."""
    wanted = asked(
        steps=steps, interval=interval, bake=bake, progress_deadline=progress_deadline,
        text_gate=text_gate, probe_suite=probe_suite, probe_rate=probe_rate,
        min_samples=min_samples, answer_gate=answer_gate, pairs=pairs, pairs_gate=pairs_gate,
    )  # fmt: skip
    _start(context, output, "canary", (model,), rules=wanted, why=why, route=route)


@app.command()
def bluegreen(
    context: typer.Context,
    model: ModelArgument,
    auto_promote: Annotated[
        bool,
        switch(
            "--auto-promote/--preview",
            "Switch by itself once the gate passed; or wait for a person. X-Model: NAME and "
            "/models/NAME/ reach it before.",
        ),
    ] = False,
    interval: IntervalOption = "",
    progress_deadline: DeadlineOption = "",
    text_gate: TextGateOption = None,
    probe_suite: SuiteOption = None,
    probe_rate: RateOption = None,
    min_samples: SamplesOption = None,
    pairs: PairsOption = None,
    pairs_gate: PairsGateOption = None,
    route: RouteOption = "",
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:  # fmt: skip
    """Start MODEL beside the stable one, probe both, and switch all requests at once."""
    wanted = asked(
        interval=interval, progress_deadline=progress_deadline, text_gate=text_gate,
        probe_suite=probe_suite, probe_rate=probe_rate, min_samples=min_samples, pairs=pairs,
        pairs_gate=pairs_gate,
    )  # fmt: skip
    _start(
        context, output, "bluegreen", (model,), auto_promote=auto_promote, rules=wanted, why=why,
        route=route,
    )  # fmt: skip


@app.command()
def ab(
    context: typer.Context,
    a: Annotated[
        str,
        typer.Argument(
            metavar="A", autocompletion=completing.models, help="A model, as for canary."
        ),
    ],
    b: Annotated[
        str, typer.Argument(metavar="B", autocompletion=completing.models, help="Another one.")
    ],
    by: Annotated[
        str,
        typer.Option(metavar="WHAT", help="Who keeps together: subject, cookie:NAME, claim:NAME."),
    ] = "subject",
    split: Annotated[
        float, typer.Option(metavar="PERCENT", min=1, max=99, help="Of the requests, for A.")
    ] = 50,
    text_gate: TextGateOption = None,
    probe_suite: SuiteOption = None,
    probe_rate: RateOption = None,
    answer_gate: AnswerGateOption = None,
    pairs: PairsOption = None,
    pairs_gate: PairsGateOption = None,
    route: RouteOption = "",
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Split the requests between A and B until a person promotes one of them."""
    wanted = asked(
        text_gate=text_gate, probe_suite=probe_suite, probe_rate=probe_rate,
        answer_gate=answer_gate, pairs=pairs, pairs_gate=pairs_gate,
    )  # fmt: skip
    _start(context, output, "ab", (a, b), percent=split, by=by, rules=wanted, why=why, route=route)


@app.command()
def shadow(
    context: typer.Context,
    model: ModelArgument,
    percent: Annotated[
        float, typer.Option(metavar="PERCENT", min=0.1, max=100, help="Of the requests to copy.")
    ] = 20,
    interval: IntervalOption = "",
    progress_deadline: DeadlineOption = "",
    text_gate: TextGateOption = None,
    min_samples: SamplesOption = None,
    route: RouteOption = "",
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Copy requests to MODEL, whose answers nobody sees, and judge them."""
    wanted = asked(
        interval=interval, progress_deadline=progress_deadline, text_gate=text_gate,
        min_samples=min_samples,
    )  # fmt: skip
    _start(context, output, "shadow", (model,), percent=percent, rules=wanted, why=why, route=route)


def asked(**given: Any) -> dict[str, Any]:
    """What was asked for on the command line; the rest is lab.toml's."""
    from llmlab.rollout import wishing

    return wishing.asked(**given)


def _start(
    context: typer.Context, output: Format, kind: str, models: tuple[str, ...], **wanted: Any
) -> None:
    """Args:
    wanted: the rest of the ``Wish``.
    """
    from llmlab.rollout.planning import Wish
    from llmlab.rollout.state import Kind

    session = Session.of(context)
    route = wanted.pop("route") or SUMMARIZE
    wish = Wish(Kind(kind), models, who=who(), route=route, **wanted)
    with progress("starting") as say:
        known = known_of(session)
        rollout = desk_of(session, say).start(wish, known)
    tell(session, rollout, output)
    _warn(session, rollout, known)


def _warn(session: Session, rollout: Rollout, known: Known) -> None:
    from llmlab.cli.output import escaped
    from llmlab.rollout.desk import concerns

    for one in concerns(session.lab(), rollout, known):
        err().print(f"[yellow]![/] {escaped(one.message)}", highlight=False)
        if one.fix:
            err().print(f"  [bold green]Fix:[/] {escaped(one.fix)}", highlight=False)
