"""`llmlab drill aa`: what the gate of rollouts says of a version that is no other one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmlab.cli.asking import bar
from llmlab.cli.output import Format, OutputOption, err, out, print_json, progress
from llmlab.cli.rollout_desk import desk_of, known_of, view_of, who
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.rollout.simulating import Drill
    from llmlab.rollout.state import Rollout, Rules

WITHIN = 300.0  # seconds; a live rollout that nothing decides by then says nothing
LIVE_RATE = 5.0  # probes a second
DECIDED = ("paused", "aborting", "completing")


def aa(
    context: typer.Context,
    runs: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="Rollouts.")] = 100,
    seed: Annotated[int, typer.Option(metavar="N", help="Of what is made up.")] = 0,
    recorded: Annotated[
        bool,
        typer.Option(
            "--recorded", metavar="", help="With this lab's own traffic, from its gateway's log."
        ),
    ] = False,
    live: Annotated[
        bool,
        typer.Option(
            "--live", metavar="",
            help="One real rollout of the stable model against itself instead; no client is "
            "served by it.",
        ),
    ] = False,
    output: OutputOption = Format.TEXT,
) -> None:  # fmt: skip
    """Roll the stable version out against itself, and count false alarms. Exit code 8 if there
    are more than alpha allows."""
    session = Session.of(context)
    if live:
        _live(session, output)
        return
    from llmlab.config import read_config
    from llmlab.rollout.planning import Wish, rules_of
    from llmlab.rollout.simulating import World, drill, made_up, played
    from llmlab.rollout.state import Kind

    rules = rules_of(read_config(session.lab().config_file).config, Wish(Kind.CANARY, ()))
    record = _record(session) if recorded else []
    with bar(runs) as shown:
        shown.of(1)
        found = drill(
            rules,
            lambda chance: played(record, chance) if record else made_up(World(), chance),
            runs=runs, seed=seed, done=shown.step,
        )  # fmt: skip
    if output is Format.JSON:
        print_json({
            **asdict(found), "rate": found.rate, "interval": found.interval, "above": found.above,
            "recorded": len(record), "seed": seed,
        })  # fmt: skip
    else:
        _show(found, rules, len(record))
    if found.above:
        raise typer.Exit(8)


def _record(session: Session) -> list[Any]:
    from llmlab.errors import UsageError
    from llmlab.rollout.running import RunningLab
    from llmlab.rollout.simulating import FEWEST_RECORDED, recorded

    lines, _ = RunningLab(session.lab()).requests_since("0")
    found = recorded(lines, known_of(session).plan.stable)
    if len(found) < FEWEST_RECORDED:
        raise UsageError(
            f"the gateway's log has {len(found)} requests of the stable model, and fewer than "
            f"{FEWEST_RECORDED} say little",
            fix="llmlab load, or leave out --recorded",
        )
    return found


def _show(found: Drill, rules: Rules, recorded: int) -> None:
    low, high = found.interval
    traffic = f"{recorded} recorded requests" if recorded else "made-up traffic"
    steps = "-".join(f"{one:g}" for one in rules.steps)
    out().print(
        f"[bold]{found.runs} A/A rollouts[/] ({steps} %, {traffic}): {found.promoted} promoted, "
        f"{found.paused} paused, [bold]{found.aborted} aborted[/]\n"
        f"false alarms {100 * found.rate:.1f} % (95 % interval {100 * low:.1f} to "
        f"{100 * high:.1f} %), nominal at most {100 * found.alpha:g} %",
        highlight=False,
    )
    for reason in found.reasons:
        out().print(f"  {reason}", style="dim", markup=False, highlight=False)
    mark = "[bold red]✗[/] more than" if found.above else "[bold green]✓[/] no more than"
    err().print(f"{mark} alpha allows", highlight=False)


def _live(session: Session, output: Format) -> None:
    """A blue-green rollout that nobody promotes: probes only, and it ends as it began."""
    from llmlab.errors import UpstreamError
    from llmlab.rollout.machine import Abort
    from llmlab.rollout.planning import Wish
    from llmlab.rollout.state import Kind

    known = known_of(session)
    stable = known.plan.stable
    wish = Wish(
        Kind.BLUEGREEN, (stable,), deployment=f"{stable}-aa"[:63], who=who(), why="drill aa",
        rules={"interval": 5.0, "progress_deadline": WITHIN, "probe_rate": LIVE_RATE},
    )  # fmt: skip
    with progress("starting") as say:
        desk = desk_of(session, say)
        begun = desk.start(wish, known)
        say(f"rollout {begun.number}: waiting for its gate")
        ended = _until(session, lambda one: one.over or one.phase in DECIDED)
        if not ended.over:
            desk.do("abort", Abort("the drill is over"), who=who())
            _until(session, lambda one: one.over)
    alarm = bool(ended.judged) and ended.judged[-1].verdict.outcome == "fail"
    if ended.phase in ("aborting", "aborted") and not alarm:
        raise UpstreamError(f"rollout {ended.number} ended early: {ended.ending}")
    verdict = ended.judged[-1].verdict if ended.judged else ended.verdict
    reason = verdict.reason if verdict else ended.ending
    if output is Format.JSON:
        print_json({"rollout": ended.number, "false_alarm": alarm, "paused": ended.paused,
                    "reason": reason})  # fmt: skip
    else:
        said = "aborted, a false alarm" if alarm else f"{ended.paused or ended.phase}"
        out().print(f"rollout {ended.number}: {said}\n  {reason}", markup=False, highlight=False)
    if alarm:
        raise typer.Exit(8)


def _until(session: Session, holds: Callable[[Rollout], bool]) -> Rollout:
    from llmlab.errors import UpstreamError

    deadline = time.monotonic() + 2 * WITHIN
    while True:
        one = view_of(session).rollout
        if holds(one):
            return one
        if time.monotonic() > deadline:
            raise UpstreamError(
                f"rollout {one.number} is still {one.phase}",
                fix="llmlab logs controller, then llmlab rollout abort",
            )
        time.sleep(0.5)
