"""`llmlab drill aa`: what the gate of rollouts says of a version that is no other one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmlab.cli.asking import bar
from llmlab.cli.deliver.rollout_desk import desk_of, known_of, view_of, who
from llmlab.cli.documents import FalseAlarm
from llmlab.cli.options import switch
from llmlab.cli.output import Format, OutputOption, err, out, print_json, progress
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from rich.table import Table

    from llmlab.rollout.simulating import Drill, Simulation
    from llmlab.rollout.state import Rollout, Rules

WITHIN = 300.0  # seconds; a live rollout that nothing decides by then says nothing
LIVE_RATE = 5.0  # probes a second
DECIDED = ("paused", "aborting", "completing")


def aa(
    context: typer.Context,
    runs: Annotated[
        int, typer.Option(metavar="N", min=1, max=10_000, help="Rollouts in each world.")
    ] = 20,
    seed: Annotated[int, typer.Option(metavar="N", help="Of what is made up.")] = 0,
    worse: Annotated[
        bool,
        switch("--worse", "Candidates that are worse as well: how far they get."),
    ] = False,
    recorded: Annotated[
        bool,
        switch("--recorded", "With this lab's own traffic, from its gateway's log."),
    ] = False,
    live: Annotated[
        bool,
        switch(
            "--live",
            "One real rollout of the stable model against itself instead; no client is served by "
            "it.",
        ),
    ] = False,
    output: OutputOption = Format.TEXT,
) -> None:  # fmt: skip
    """Roll the stable version out against itself, in worlds that make that hard, by the rules of
    lab.toml. Exit code 8 if in one of them more are aborted than alpha allows."""
    session = Session.of(context)
    if live:
        _live(session, output)
        return
    from llmlab.config import read_config
    from llmlab.names import CHAT
    from llmlab.rollout.planning import Wish, rules_of
    from llmlab.rollout.simulating import drill, in_worlds
    from llmlab.rollout.state import Kind
    from llmlab.rollout.worlds import EQUAL, WORSE, Played

    config = read_config(session.lab().config_file).config
    # Of a chat's route, whose rules say how answers are to come and end.
    rules = rules_of(config, Wish(Kind.CANARY, (), route=CHAT))
    if recorded:
        record = _record(session)
        if not any(one.answer for one in record):
            rules = replace(rules, answer_gate="")
        with bar(runs) as shown:
            shown.of(1)
            found = drill(
                rules, lambda chance: Played(record, chance), runs=runs, seed=seed, done=shown.step
            )
        equal, others = {f"{len(record)} recorded requests": found}, {}
    else:
        worlds = EQUAL | (WORSE if worse else {})
        with bar(runs * len(worlds)) as shown:
            shown.of(1)
            drilled = dict(in_worlds(rules, worlds, runs=runs, seed=seed, done=shown.step))
        equal = {name: drilled[name] for name in EQUAL}
        others = {name: drilled[name] for name in WORSE if worse}
    if output is Format.JSON:
        document: Simulation = {
            "seed": seed, "alpha": rules.alpha,
            "equal": [one.as_json(world) for world, one in equal.items()],
            "worse": [one.as_json(world) for world, one in others.items()],
        }  # fmt: skip
        print_json(document)
    else:
        _show(equal, others, rules)
    if any(one.above for one in equal.values()):
        raise typer.Exit(8)


def _record(session: Session) -> list[Any]:
    from llmlab.errors import UsageError
    from llmlab.rollout.running import RunningLab
    from llmlab.rollout.simulating import FEWEST_RECORDED
    from llmlab.rollout.worlds import recorded

    lines, _ = RunningLab(session.lab()).requests_since("0")
    found = recorded(lines, known_of(session).plan.stable)
    if len(found) < FEWEST_RECORDED:
        raise UsageError(
            f"the gateway's log has {len(found)} requests of the stable model, and fewer than "
            f"{FEWEST_RECORDED} say little",
            fix="llmlab load, or leave out --recorded",
        )
    return found


def _show(equal: Mapping[str, Drill], worse: Mapping[str, Drill], rules: Rules) -> None:
    steps = "-".join(f"{one:g}" for one in rules.steps)
    out().print(_table(f"Equal versions, {steps} %", equal))
    if worse:
        out().print(_table("Worse versions", worse, caught=True))
    alarms = [name for name, one in equal.items() if one.above]
    said = (
        f"[bold red]✗[/] more than alpha = {100 * rules.alpha:g} % aborted: {'; '.join(alarms)}"
        if alarms
        else f"[bold green]✓[/] nowhere more equal versions aborted than alpha = "
        f"{100 * rules.alpha:g} % allows"
    )
    err().print(said, highlight=False)


def _table(title: str, found: Mapping[str, Drill], *, caught: bool = False) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("world")
    for name in ("aborted", "paused", "promoted", "answers" if caught else "minutes"):
        table.add_column(name, justify="right")
    for world, one in found.items():
        shares = (f"{100 * n / one.runs:.0f} %" for n in (one.aborted, one.paused, one.promoted))
        answers = "" if one.answers is None else f"{one.answers:.0f}"
        last = answers if caught else f"{one.minutes:.0f}"
        table.add_row(world, *shares, last, style="red" if one.above and not caught else "")
    if caught:
        table.caption = "answers: of the candidate, until traffic was given back; the median"
        table.caption_justify = "left"
    return table


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
        print_json(FalseAlarm(
            rollout=ended.number, false_alarm=alarm, paused=ended.paused, reason=reason
        ))  # fmt: skip
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
