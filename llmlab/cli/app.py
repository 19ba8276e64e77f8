"""The tree of verbs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from llmlab.cli.deliver import deploy, trace
from llmlab.cli.judge import compare, evaluate, load, probe, replay, tune
from llmlab.cli.later import Later, flow
from llmlab.cli.moved import MOVED, say_where
from llmlab.cli.prepare import build, doctor, init
from llmlab.cli.run import down, logs, metrics, status, top, up, usage
from llmlab.cli.session import Session
from llmlab.cli.use import chat, console, notebook, summarize, url
from llmlab.version import __version__

# As the help shows them, and as their modules lie beside this one.
ROOMS = {
    "run": "Run the lab",
    "use": "Use it",
    "judge": "Measure, judge and better it",
    "deliver": "Deliver the next version",
    "prepare": "Prepare and look after it",
    "teach": "Learn it, and teach it",
}
# The modules of groups are imported when they are asked for.
GROUPS = {
    "token": (
        "use.token",
        "Print a token (JWT) for the lab, explain one, or end somebody's tokens.",
    ),
    "deployment": (
        "deliver.deployment",
        "What becomes of a running deployment: more processes, or none.",
    ),
    "node": (
        "run.node",
        "Machines on which the engine ray runs API processes: join one, list and drain them.",
    ),
    "rollout": (
        "deliver.rollout",
        "Let a new model version take traffic step by step, as far as the evidence allows.",
    ),
    "flag": ("deliver.flag", "Feature flags, which the gateway evaluates for every request."),
    "drill": (
        "deliver.drill",
        "Fault drills: have a deployment misbehave on purpose, and watch it be caught.",
    ),
    "record": (
        "judge.record",
        "Record what a route is asked and answers, to judge the next version by it.",
    ),
    "ledger": ("deliver.ledger", "The ledger: who changed what of the lab, when and why."),
    "judge": (
        "judge.judge",
        "A judge: a language model that says which of two answers is better, once calibrated.",
    ),
    "models": (
        "prepare.models",
        "The lab's models: fetch, register, name and move them; what they are judged by.",
    ),
    "keys": ("prepare.keys", "The keys that sign tokens, and API keys: make, list, revoke."),
    "tls": ("prepare.tls", "The gateway's certificate: show it, have it trusted, renew it."),
    "export": ("prepare.export", "The lab as files for another platform."),
    "config": ("prepare.config", "The configuration as it is in force, and what follows from it."),
    "course": (
        "teach.course",
        "The course: nine objectives, what this lab shows of each, and labs for a class.",
    ),
}
VERBS = (
    up.up, down.down, status.status, logs.logs, top.top, metrics.metrics, usage.usage,
    summarize.summarize, chat.chat, url.url, console.console, notebook.notebook,
    load.load, probe.probe, compare.compare, evaluate.evaluate, replay.replay,
    tune.tune,
    deploy.deploy, trace.trace,
    init.init, doctor.doctor, build.build,
)  # fmt: skip


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
        for name, (module, text) in GROUPS.items():
            room = module.partition(".")[0]
            self.add_command(Later(name, text, f"llmlab.cli.{module}", ROOMS[room]))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if (known := CALLED_ELSEWHERE.get(args[0])) and args[0] not in self.commands:
            ctx.fail(f"No such command {args[0]!r}. Here it is: {known}")
        if args[0] in MOVED:
            return self._moved(ctx, *args)
        return super().resolve_command(ctx, args)

    def _moved(self, ctx: Any, old: str, *rest: str) -> Any:
        if not ctx.resilient_parsing:  # it is not the shell that asks, for what it may offer
            say_where(old)
        name, verb = MOVED[old].split()
        group: Any = self.commands[name]
        return MOVED[old], group.commands[verb], list(rest)


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


for _verb in VERBS:
    _room = _verb.__module__.split(".")[2]
    app.command(_verb.__name__, rich_help_panel=ROOMS[_room])(_verb)
