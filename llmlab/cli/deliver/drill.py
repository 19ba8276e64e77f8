from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.markup import escape

from llmlab.cli import completing
from llmlab.cli.deliver.drill_aa import aa
from llmlab.cli.options import WhyOption
from llmlab.cli.output import Format, OutputOption, err, print_json
from llmlab.cli.session import Session
from llmlab.errors import UsageError
from llmlab.service.drill import (
    LONGEST_SUBJECT,
    LONGEST_TEXT,
    MEANS,
    MOST_SUBJECTS,
    TIMED,
    Drill,
    Kind,
)

app = typer.Typer(
    add_completion=False,
    help="Fault drills: have a deployment misbehave on purpose, and watch it be caught.",
    no_args_is_help=True,
)
DeploymentOption = Annotated[
    str,
    typer.Option(
        "--deployment",
        "-d",
        metavar="NAME",
        autocompletion=completing.deployments,
        help="Which; see llmlab status.",
    ),
]
ShareOption = Annotated[
    float,
    typer.Option(metavar="PERCENT", min=0.01, max=100, help="Of the texts that it gets."),
]


SubjectOption = Annotated[
    list[str] | None,
    typer.Option(
        "--subject", metavar="NAME", help="Only texts of this caller; as often as needed."
    ),
]
LongerOption = Annotated[
    int,
    typer.Option(
        "--longer-than", metavar="WORDS", min=0, max=LONGEST_TEXT, help="Only texts of more words."
    ),
]
ContainingOption = Annotated[
    str,
    typer.Option(metavar="WORDS", help="Only texts in which that stands."),
]
app.command("aa")(aa)


@app.command(help=MEANS[Kind.SLOW])
def slow(
    context: typer.Context,
    deployment: DeploymentOption,
    seconds: Annotated[
        float, typer.Option(metavar="S", min=0.001, max=600, help="That a text takes longer.")
    ] = 2.0,
    share: ShareOption = 100,
    subject: SubjectOption = None,
    longer_than: LongerOption = 0,
    containing: ContainingOption = "",
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:
    drill = _drill(Kind.SLOW, share, subject, longer_than, containing, seconds=seconds)
    _start(context, deployment, drill, why, output)


def _verb(kind: Kind) -> Callable[..., None]:
    def verb(
        context: typer.Context,
        deployment: DeploymentOption,
        share: ShareOption = 100,
        subject: SubjectOption = None,
        longer_than: LongerOption = 0,
        containing: ContainingOption = "",
        why: WhyOption = "",
        output: OutputOption = Format.TEXT,
    ) -> None:
        drill = _drill(kind, share, subject, longer_than, containing)
        _start(context, deployment, drill, why, output)

    return verb


def _timed(kind: Kind) -> Callable[..., None]:
    def verb(
        context: typer.Context,
        deployment: DeploymentOption,
        seconds: Annotated[
            float, typer.Option(metavar="S", min=0.001, max=600, help="For so long.")
        ] = 2.0,
        share: ShareOption = 100,
        subject: SubjectOption = None,
        longer_than: LongerOption = 0,
        containing: ContainingOption = "",
        why: WhyOption = "",
        output: OutputOption = Format.TEXT,
    ) -> None:
        drill = _drill(kind, share, subject, longer_than, containing, seconds=seconds)
        _start(context, deployment, drill, why, output)

    return verb


for _kind in sorted(Kind, key=TIMED.__contains__):
    if _kind is not Kind.SLOW:
        _made = _timed if _kind in TIMED else _verb
        app.command(_kind.value, help=MEANS[_kind])(_made(_kind))


@app.command()
def off(
    context: typer.Context,
    deployment: DeploymentOption,
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Have it behave again."""
    from llmlab.delivery import drills

    was_on = drills.stop(Session.of(context).lab(), deployment, why)
    if output is Format.JSON:
        print_json(drills.Drilled(deployment=deployment, drill=None, changed=was_on))
        return
    said = "is over" if was_on else "was not on"
    err().print(f"[bold green]✓[/] The drill of {deployment} {said}.", highlight=False)


def _drill(
    kind: Kind,
    share: float,
    subject: list[str] | None,
    longer_than: int,
    containing: str,
    *,
    seconds: float = 0.0,
) -> Drill:
    try:
        return Drill(
            kind=kind, seconds=seconds, percent=share, subjects=tuple(subject or ()),
            longer_than=longer_than, containing=containing,
        )  # fmt: skip
    except ValidationError as error:
        told = "; ".join(str(one["msg"]) for one in error.errors())
        raise UsageError(
            f"--subject: {told}",
            fix=f"name at most {MOST_SUBJECTS} callers, of at most {LONGEST_SUBJECT} characters",
        ) from None


def _start(context: typer.Context, deployment: str, drill: Drill, why: str, output: Format) -> None:
    from llmlab.delivery import drills

    drills.start(Session.of(context).lab(), deployment, drill, why)
    if output is Format.JSON:
        print_json({"deployment": deployment, "drill": drill.model_dump(mode="json"),
                    "changed": True})  # fmt: skip
        return
    err().print(
        f"[bold green]✓[/] {deployment}: {escape(str(drill))}, within {drills.TAKES_EFFECT:g} s, "
        f"until llmlab drill off --deployment {deployment}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
