"""How a rollout looks: a tree for people."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from llmlab.cli.output import duration, escaped

if TYPE_CHECKING:
    from rich.tree import Tree

    from llmlab.rollout.state import Finding, Rollout
    from llmlab.rollout.view import Seat, View

COLORS = {
    "starting": "cyan", "progressing": "cyan", "paused": "yellow", "completing": "green",
    "completed": "green", "aborting": "red", "aborted": "red",
}  # fmt: skip
MARKS = {"pass": "[green]✓[/]", "fail": "[red]✗[/]", "inconclusive": "[yellow]…[/]"}


def tree(view: View) -> Tree:
    """Rollout, steps, weights that are wanted and taken, and what the gate says."""
    from rich.tree import Tree

    one = view.rollout
    color = COLORS[one.phase]
    title = f"[bold]rollout {one.number}[/]: {one.kind} of [bold]{escaped(one.target)}[/]"
    root = Tree(f"{title} on {one.route}, [{color}]{one.phase}[/]{_for(view)}")
    for line in _notes(view):
        root.add(line)
    if one.kind == "canary":
        root.add(_steps(one))
    for seat in view.seats:
        root.add(_seat(view, seat))
    verdict = one.verdict
    if verdict:
        said = "waits" if verdict.outcome == "none" else verdict.outcome
        gate = root.add(f"[bold]gate[/] {said}" + _samples(verdict.samples))
        for finding in verdict.findings:
            gate.add(_finding(finding))
    return root


def _for(view: View) -> str:
    one = view.rollout
    if one.over:
        return f" [dim]after {duration(one.ended - one.created)}[/]"
    shown = f" [dim]for {duration(view.elapsed)}[/]"
    follows = view.next_told(duration)
    return f"{shown}, {follows}" if follows else shown


def _notes(view: View) -> list[str]:
    one = view.rollout
    notes = []
    if not view.running:
        notes.append("[yellow]![/] the lab does not run; [bold]llmlab up[/] starts it")
    if one.paused:
        notes.append(f"[yellow]![/] {one.paused}: [bold]llmlab rollout[/] {_ways_on(one)}")
    if one.kind == "ab" and one.phase == "progressing":
        names = " or ".join(arm.deployment for arm in one.arms)
        notes.append(f"[dim]until a person says: llmlab rollout promote {names}, or abort[/]")
    if one.ending and not (one.verdict and one.ending == one.verdict.reason):
        notes.append(escaped(one.ending))
    if one.why:
        notes.append(f"[dim]{escaped(one.who)}: {escaped(one.why)}[/]")
    return notes


def _ways_on(one: Rollout) -> str:
    """``promote, resume or abort``"""
    from llmlab.rollout.possible import ways

    *others, last = dict.fromkeys(way.name for way in ways(one, one.since))
    return f"{', '.join(others)} or {last}" if others else last


def _steps(one: Rollout) -> str:
    shown = []
    for number in range(1, one.last_step + 1):
        text = f"{one.share_at(number):g} %"
        if one.promoted or one.baking or number < one.step:
            text = f"[green]{text}[/]"
        elif number == one.step:
            text = rf"[bold]\[{text}][/]"
        shown.append(text)
    if one.rules.bake:
        last = f"watched for {duration(one.rules.bake)}"
        last = rf"[bold]\[{last}][/]" if one.baking else last
        shown.append(f"[green]{last}[/]" if one.promoted else last)
    return "[bold]steps[/] " + " → ".join(shown)


def _seat(view: View, seat: Seat) -> str:
    mark = "[green]●[/]" if seat.healthy else "[red]●[/]"
    copies = " of the requests, copied" if _is_shadow(view, seat) else ""
    weight = f"{seat.requested:g} %{copies}"
    if seat.actual is not None and seat.actual != seat.requested:
        weight += f" [yellow](the gateway still has {seat.actual:g} %)[/]"
    model = "" if seat.model == seat.name else f"{escaped(seat.model)}, "
    return f"{mark} [bold]{seat.name}[/] {seat.role} {weight} [dim]{model}{seat.state}[/]"


def _is_shadow(view: View, seat: Seat) -> bool:
    return view.rollout.kind == "shadow" and seat.role == "candidate"


def _samples(count: int) -> str:
    return (
        f" [dim]{count or 'no'} answer{'' if count == 1 else 's'} of the candidate in this step[/]"
    )


def _finding(one: Finding) -> str:
    return f"{MARKS.get(one.outcome, ' ')} {escaped(one.reason)}"


def when(seconds: float) -> str:
    """A moment in local time."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
