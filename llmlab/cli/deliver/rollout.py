"""`llmlab rollout`: look at a rollout, and take it on or back."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.deliver import rollout_pairs, rollout_report, rollout_start
from llmlab.cli.deliver.rollout_desk import desk_of, known_of, tell, view_of, who
from llmlab.cli.endings import ABORTED, PAUSED, TOO_LATE
from llmlab.cli.options import RouteOption, WhyOption, switch
from llmlab.cli.output import Format, OutputOption, err, out, print_json, progress
from llmlab.cli.session import Session
from llmlab.names import SUMMARIZE

if TYPE_CHECKING:
    from llmlab.rollout.machine import Verb
    from llmlab.rollout.state import Rollout
    from llmlab.rollout.view import View

REFRESH = 1.0  # seconds
WIDEST = 100  # letters of a reason, in a list

app = typer.Typer(
    add_completion=False,
    help="Let a new model version take traffic step by step, as far as the evidence allows.",
    no_args_is_help=True,
)
app.add_typer(rollout_start.app, name="start")
app.command("report")(rollout_report.report)
app.command("pairs")(rollout_pairs.pairs)


@app.command()
def get(
    context: typer.Context,
    route: RouteOption = "",
    watch: Annotated[bool, switch("--watch -w", "Keep looking until it is over.")] = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Show the rollout that is under way, or the last one."""
    session = Session.of(context)
    if watch and output is Format.TEXT:
        _watch(lambda: view_of(session, route))
        return
    view = view_of(session, route)
    if output is Format.JSON:
        print_json(view.as_json())
    else:
        from llmlab.cli.deliver.rollout_view import tree

        out().print(tree(view), highlight=False)


@app.command()
def status(
    context: typer.Context,
    route: RouteOption = "",
    timeout: Annotated[
        str, typer.Option(metavar="TIME", help="Wait no longer: 90s, 10m, 1h; 0 = do not wait.")
    ] = "1h",
    output: OutputOption = Format.TEXT,
) -> None:
    """Wait until a rollout is over, or paused. Exit code 0: completed; 8: aborted; 1: it is
    paused and waits for a person; 5: neither within --timeout."""
    from llmlab.rollout.steps import parse_seconds

    session = Session.of(context)
    deadline = time.monotonic() + parse_seconds(timeout)
    view, said = view_of(session, route), ""
    with progress("") as say:
        while not view.rollout.over and view.rollout.phase != "paused":
            if time.monotonic() >= deadline:
                break
            if (waits := _waits_for(view.rollout)) != said:
                said = waits
                say(waits)
            time.sleep(REFRESH / 2)
            view = view_of(session, route)
    one = view.rollout
    if output is Format.JSON:
        print_json(view.as_json())
    else:
        why = one.ending if not one.paused else f"{one.paused}"
        print(f"rollout {one.number}: {one.phase}" + (f": {why}" if why else ""))
    if one.phase == "aborted":
        raise typer.Exit(ABORTED)
    if one.phase == "paused":
        raise typer.Exit(PAUSED)
    if not one.over:
        raise typer.Exit(TOO_LATE)


def _waits_for(one: Rollout) -> str:
    """``waiting: rollout 8 is progressing, step 2 of 4, 25 %: its gate says inconclusive``"""
    step = f", step {one.step} of {one.last_step}, {one.percent:g} %" if one.step else ""
    baking = ", a last watch" if one.baking else ""
    gate = f": its gate says {one.verdict.outcome}" if one.verdict else ""
    return f"waiting: rollout {one.number} is {one.phase}{step}{baking}{gate}"


@app.command()
def promote(
    context: typer.Context,
    arm: Annotated[
        str, typer.Argument(metavar="[A|B]", help="Of an A/B comparison: which one.")
    ] = "",
    full: Annotated[bool, switch("--full", "All the way, past all further steps.")] = False,
    route: RouteOption = "",
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Take the rollout one step on, whatever its gate says."""
    from llmlab.rollout.machine import Promote

    _do(context, "promote", Promote(full, arm, why), route, output)


@app.command()
def pause(
    context: typer.Context,
    route: RouteOption = "",
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Stay at this step until somebody promotes, resumes or aborts. A gate that fails still
    aborts."""
    from llmlab.rollout.machine import Pause

    _do(context, "pause", Pause(why), route, output)


@app.command()
def resume(
    context: typer.Context,
    route: RouteOption = "",
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Go on from the step where it was paused."""
    from llmlab.rollout.machine import Resume

    _do(context, "resume", Resume(why), route, output)


@app.command()
def abort(
    context: typer.Context,
    route: RouteOption = "",
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Give all traffic back at once, and end what the rollout has started."""
    from llmlab.rollout.machine import Abort

    _do(context, "abort", Abort(why), route, output)


@app.command()
def undo(
    context: typer.Context,
    to: Annotated[
        int | None,
        typer.Option(
            "--to", metavar="ID",
            help="Back to what rollout ID has promoted; 0: to the stable model of lab.toml.",
        ),
    ] = None,
    route: RouteOption = "",
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:  # fmt: skip
    """Give all traffic back to what had it before the last promotion, at once."""
    session = Session.of(context)
    with progress("undoing") as say:
        desk = desk_of(session, say, route)
        rollout = desk.undo(known_of(session), to=to, who=who(), why=why)
    tell(session, rollout, output)


@app.command()
def history(context: typer.Context, output: OutputOption = Format.TEXT) -> None:
    """List all rollouts, the oldest first."""
    from llmlab.rollout.store import Rollouts

    found = Rollouts(Session.of(context).lab()).history()
    if output is Format.JSON:
        print_json([one.as_json() for one in found])
        return
    from llmlab.cli.deliver.rollout_view import when
    from llmlab.cli.output import escaped
    from llmlab.cli.table import print_table

    print_table(
        ("id", "began", "route", "kind", "of", "result", "who", "why"),
        [
            (str(one.number), when(one.created), one.route, one.kind, escaped(one.target),
             one.phase, escaped(one.who), escaped(shorten(_why(one), WIDEST, placeholder=" …")))
            for one in found
        ],
    )  # fmt: skip


def _why(one: Rollout) -> str:
    """A person's reason, or what ended it early; that a gate passed goes without saying."""
    return one.why or ("" if one.phase == "completed" else one.ending)


class KindName(StrEnum):
    CANARY = "canary"
    BLUEGREEN = "bluegreen"
    AB = "ab"
    SHADOW = "shadow"


@app.command()
def lint(
    context: typer.Context,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL...]", autocompletion=completing.models, help="The candidate; A and B."
        ),
    ] = None,
    kind: Annotated[KindName, typer.Option(help="What it would be.")] = KindName.CANARY,
    steps: rollout_start.StepsOption = "",
    interval: rollout_start.IntervalOption = "",
    progress_deadline: rollout_start.DeadlineOption = "",
    text_gate: rollout_start.TextGateOption = None,
    probe_suite: rollout_start.SuiteOption = None,
    answer_gate: rollout_start.AnswerGateOption = None,
    pairs: rollout_start.PairsOption = None,
    pairs_gate: rollout_start.PairsGateOption = None,
    route: RouteOption = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Check the rollout section of lab.toml, and a start, without starting. Exit code 1 for an
    error."""
    from dataclasses import asdict

    from llmlab.rollout.linting import lint as linted
    from llmlab.rollout.planning import Wish
    from llmlab.rollout.power import usual_of
    from llmlab.rollout.running import RunningLab
    from llmlab.rollout.state import Kind

    session = Session.of(context)
    rules = rollout_start.asked(
        steps=steps, interval=interval, progress_deadline=progress_deadline, text_gate=text_gate,
        probe_suite=probe_suite, answer_gate=answer_gate, pairs=pairs, pairs_gate=pairs_gate,
    )  # fmt: skip
    wish = Wish(Kind(kind.value), tuple(models or ()), rules=rules, route=route or SUMMARIZE)
    running = RunningLab(session.lab())
    found = linted(
        wish, session.lab(), session.catalogue(), lambda: known_of(session),
        lambda deployment: usual_of(running, deployment),
    )  # fmt: skip
    errors, warnings = (sum(one.severity == kind for one in found) for kind in ("error", "warning"))
    if output is Format.JSON:
        print_json([asdict(one) for one in found])
    else:
        from llmlab.cli.output import escaped

        for one in found:
            color = {"error": "red", "warning": "yellow"}.get(one.severity, "cyan")
            fix = f"\n  [bold green]Fix:[/] {escaped(one.fix)}" if one.fix else ""
            out().print(f"[{color}]{one.severity}[/] {escaped(one.message)}{fix}", highlight=False)
        mark = "[bold red]✗[/]" if errors else "[bold green]✓[/]"
        err().print(f"{mark} errors {errors}, warnings {warnings}", highlight=False)
    if errors:
        raise typer.Exit(1)


def _do(context: typer.Context, name: str, event: Verb, route: str, output: Format) -> None:
    session = Session.of(context)
    with progress(name) as say:
        rollout = desk_of(session, say, route).do(name, event, who=who())
    tell(session, rollout, output)


def _watch(look: Callable[[], View]) -> None:
    from rich.live import Live

    from llmlab.cli.deliver.rollout_view import tree
    from llmlab.cli.watching import keys

    console, view = out(), look()
    if not console.is_terminal:  # one after the other, for a pipe or a file
        console.print(tree(view), highlight=False)
        while not view.rollout.over:
            time.sleep(REFRESH)
            view = look()
            console.print(tree(view), highlight=False)
            console.file.flush()
        return
    with keys() as quits, Live(tree(view), console=console, auto_refresh=False) as live:
        while not view.rollout.over and not quits(REFRESH):
            view = look()
            live.update(tree(view), refresh=True)
