from __future__ import annotations

from typing import Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.drill_aa import aa
from llmlab.cli.output import Format, OutputOption, err, print_json
from llmlab.cli.session import Session

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
WhyOption = Annotated[str, typer.Option(metavar="TEXT", help="A reason, for the ledger.")]


app.command("aa")(aa)


@app.command()
def slow(
    context: typer.Context,
    deployment: DeploymentOption,
    seconds: Annotated[
        float, typer.Option(metavar="S", min=0.001, max=600, help="That a text takes longer.")
    ] = 2.0,
    share: ShareOption = 100,
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Have its texts take longer."""
    _start(context, deployment, "slow", share, why, output, seconds=seconds)


@app.command()
def errors(
    context: typer.Context,
    deployment: DeploymentOption,
    share: ShareOption = 100,
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Have it answer with 500."""
    _start(context, deployment, "errors", share, why, output)


@app.command("worse-text")
def worse_text(
    context: typer.Context,
    deployment: DeploymentOption,
    share: ShareOption = 100,
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Have its summaries stop early, lose their names and tell wrong numbers."""
    _start(context, deployment, "worse-text", share, why, output)


@app.command()
def crash(
    context: typer.Context,
    deployment: DeploymentOption,
    share: ShareOption = 100,
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Have its process end in the middle of a request; it is started again each time."""
    _start(context, deployment, "crash", share, why, output)


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
        print_json({"deployment": deployment, "drill": None, "changed": was_on})
        return
    said = "is over" if was_on else "was not on"
    err().print(f"[bold green]✓[/] The drill of {deployment} {said}.", highlight=False)


def _start(
    context: typer.Context,
    deployment: str,
    kind: str,
    share: float,
    why: str,
    output: Format,
    *,
    seconds: float = 0.0,
) -> None:
    from llmlab.delivery import drills
    from llmlab.service.drill import Drill, Kind

    drill = Drill(kind=Kind(kind), seconds=seconds, percent=share)
    drills.start(Session.of(context).lab(), deployment, drill, why)
    if output is Format.JSON:
        print_json({"deployment": deployment, "drill": drill.model_dump(mode="json"),
                    "changed": True})  # fmt: skip
        return
    err().print(
        f"[bold green]✓[/] {deployment}: {drill}, within {drills.TAKES_EFFECT:g} s, until "
        f"llmlab drill off --deployment {deployment}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
