"""The tree of verbs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from llmlab import __version__
from llmlab.cli import (
    build,
    compare,
    deploy,
    doctor,
    down,
    evaluate,
    init,
    load,
    logs,
    metrics,
    notebook,
    openapi,
    scale,
    status,
    summarize,
    top,
    trace,
    tune,
    undeploy,
    up,
)
from llmlab.cli.later import Later, flow
from llmlab.cli.session import Session

RUN, USE, JUDGE = "Run the lab", "Use it", "Measure, judge and better it"
DELIVER = "Deliver the next version"
PREPARE = "Prepare and look after it"
TEACH = "Learn it, and teach it"
# Their modules are imported when they are asked for.
GROUPS = {
    "token": ("Print a token (JWT) for the lab, explain one, or end somebody's tokens.", USE),
    "suite": ("The suites of texts that models are judged by.", JUDGE),
    "rollout": (
        "Let a new model version take traffic step by step, as far as the evidence allows.",
        DELIVER,
    ),
    "flag": ("Feature flags, which the gateway evaluates for every request.", DELIVER),
    "drill": (
        "Fault drills: have a deployment misbehave on purpose, and watch it be caught.",
        DELIVER,
    ),
    "ledger": ("The ledger: who changed what of the lab, when and why.", DELIVER),
    "models": ("The lab's models: fetch, register, name and move them.", PREPARE),
    "keys": ("The keys that sign tokens: make, list, rotate, revoke.", PREPARE),
    "config": ("The configuration as it is in force.", PREPARE),
    "course": ("The course: eight objectives, and what this lab shows of each.", TEACH),
    "class": ("Labs for a class: make them, start them, and see how far each one is.", TEACH),
}


# What other tools of this kind call it. Letters alone would suggest something else: `stop`
# looks most like `top`.
CALLED_ELSEWHERE = {
    "start": "llmlab up", "serve": "llmlab up", "run": "llmlab up", "reload": "llmlab up",
    "stop": "llmlab down", "restart": "llmlab down && llmlab up", "ps": "llmlab status",
    "rollback": "llmlab rollout undo",
    "promote": "llmlab rollout promote", "pull": "llmlab models pull NAME",
    "stats": "llmlab top", "log": "llmlab logs",
}  # fmt: skip


class Root(TyperGroup):
    """The verbs, and the groups of verbs, which are built when they are asked for."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        flow(self)
        for name, (text, panel) in GROUPS.items():
            self.add_command(Later(name, text, panel))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if (known := CALLED_ELSEWHERE.get(args[0])) and args[0] not in self.commands:
            ctx.fail(f"No such command {args[0]!r}. Here it is: {known}")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Root,
    help="A language model behind a real gateway, with one command.",
    epilog="First steps: llmlab init lab && cd lab && llmlab up && llmlab summarize FILE",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"llmlab {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    lab: Annotated[
        Path | None,
        typer.Option("--lab", metavar="DIR", help="The lab; default: the one around this folder."),
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", callback=_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    context.obj = Session(lab)


app.command("up", rich_help_panel=RUN)(up.up)
app.command("down", rich_help_panel=RUN)(down.down)
app.command("status", rich_help_panel=RUN)(status.status)
app.command("logs", rich_help_panel=RUN)(logs.logs)
app.command("top", rich_help_panel=RUN)(top.top)
app.command("metrics", rich_help_panel=RUN)(metrics.metrics)
app.command("summarize", rich_help_panel=USE)(summarize.summarize)
app.command("notebook", rich_help_panel=USE)(notebook.notebook)
app.command("openapi", rich_help_panel=USE)(openapi.openapi)
app.command("load", rich_help_panel=JUDGE)(load.load)
app.command("compare", rich_help_panel=JUDGE)(compare.compare)
app.command("evaluate", rich_help_panel=JUDGE)(evaluate.evaluate)
app.command("tune", rich_help_panel=JUDGE)(tune.tune)
app.command("deploy", rich_help_panel=DELIVER)(deploy.deploy)
app.command("undeploy", rich_help_panel=DELIVER)(undeploy.undeploy)
app.command("scale", rich_help_panel=DELIVER)(scale.scale)
app.command("trace", rich_help_panel=DELIVER)(trace.trace)
app.command("init", rich_help_panel=PREPARE)(init.init)
app.command("doctor", rich_help_panel=PREPARE)(doctor.doctor)
app.command("build", rich_help_panel=PREPARE)(build.build)
