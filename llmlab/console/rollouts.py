"""The page of rollouts: what is tried, how far it is, what its gate says and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llmlab.compare.comparison import Stretch
from llmlab.console.ages import TICK
from llmlab.console.desk import Desk
from llmlab.console.pages import Change, Missing, Page, Query
from llmlab.console.rollout_changes import CHANGES as CHANGED
from llmlab.console.rollout_changes import Button, buttons, undoes
from llmlab.console.rollout_planned import CHANGES as BEGUN
from llmlab.console.rollout_planned import PAGES as PLANNED
from llmlab.console.rollout_tiles import Tile, tile
from llmlab.console.visitor import Visitor
from llmlab.console.watching import watch
from llmlab.delivery import drills
from llmlab.engines.status import LabStatus
from llmlab.errors import AuthError, LlmlabError, UpstreamError, UsageError
from llmlab.names import SUMMARIZE
from llmlab.report.chart import Panel
from llmlab.rollout import picture
from llmlab.rollout.desk import view_of
from llmlab.rollout.page import KINDS, SIZE, Line, lines
from llmlab.rollout.page import took as in_words
from llmlab.rollout.pairs_view import PairsView, ShownPair
from llmlab.rollout.report import Report, report
from llmlab.rollout.state import Kind, Outcome, Paused, Phase, Rollout, Verdict
from llmlab.rollout.store import Rollouts
from llmlab.rollout.view import View
from llmlab.rollout.worst_pair import WorstPairs
from llmlab.service.drill import MEANS, TIMED

LISTED = 8  # of the other rollouts, on the page of one
LOOKS = {
    Phase.STARTING: ("…", "link"), Phase.PROGRESSING: ("→", "link"), Phase.PAUSED: ("‖", "unsure"),
    Phase.COMPLETING: ("✓", "good"), Phase.COMPLETED: ("✓", "good"),
    Phase.ABORTING: ("✗", "wrong"), Phase.ABORTED: ("✗", "wrong"),
}  # fmt: skip


@dataclass(frozen=True)
class Worst:
    """The worst pair, for an operator.

    Args:
        why_not: why nobody can read it.
    """

    shown: ShownPair | None = None
    candidate: tuple[Stretch, ...] = ()
    stable: tuple[Stretch, ...] = ()
    why_not: str = ""


@dataclass(frozen=True)
class Step:
    """``look``: done, now, ended or later. ``name``: ``25 %``."""

    name: str
    look: str


@dataclass(frozen=True)
class Shown:
    """A rollout, as its page shows it.

    Args:
        newest: whether it is the one of its route that is under way, or the last one.
        measured: {deployment: percent of the requests that it has answered of late}.
        follows: what happens by itself, and when.
        drilled: {deployment: how it misbehaves on purpose}.
        back_to: the deployment that would get the traffic back.
    """

    view: View
    newest: bool
    because: str
    follows: str
    verdict: Verdict | None
    tiles: tuple[Tile, ...]
    steps: tuple[Step, ...]
    measured: dict[str, float]
    panels: tuple[Panel, ...]
    wealth: tuple[Panel, ...]
    marks: tuple[picture.Mark, ...]
    lines: tuple[Line, ...]
    report: Report
    buttons: tuple[Button, ...] = ()
    back_to: str = ""
    drilled: dict[str, str] = field(default_factory=dict)
    worst: Worst | None = None


@dataclass(frozen=True)
class Found:
    """Args:
    one: None where there was none yet.
    routes: of each route, the rollout that is under way, or the last one.
    others: the newest of the other ones, the newest first; ``count``: of all.
    """

    one: Shown | None
    routes: tuple[Rollout, ...]
    others: tuple[Rollout, ...]
    count: int
    looks: dict[Phase, tuple[str, str]] = field(default_factory=lambda: LOOKS)
    means: dict[Kind, str] = field(default_factory=lambda: KINDS)
    size: dict[str, int] = field(default_factory=lambda: SIZE)
    misbehaving: dict[Any, str] = field(default_factory=lambda: dict(MEANS))
    timed: frozenset[Any] = TIMED


def gather(desk: Desk, query: Query, visitor: Visitor) -> Found:
    rollouts = Rollouts(desk.lab)
    history = rollouts.history()
    routes = of_routes(history, rollouts.routes())
    if not (history or query.get("number") or query.get("route")):
        return Found(None, (), (), 0)
    number = number_of(query, routes, history)
    view = view_of(desk.lab, status_of(desk), number=number)
    one = shown(desk, view, visitor, newest=number in {each.number for each in routes})
    others = [each for each in reversed(history) if each.number != number]
    return Found(one, tuple(routes), tuple(others[:LISTED]), len(history))


def status_of(desk: Desk) -> LabStatus | None:
    """By the look that all pages share; None if the lab does not run."""
    try:
        return watch(desk.lab).look().status
    except UpstreamError:
        return None


def of_routes(history: Sequence[Rollout], under_way: Sequence[str]) -> list[Rollout]:
    """Of each route the one under way, or the last one; those under way first."""
    last = {one.route: one for one in history}
    begun = [last.pop(route) for route in under_way if route in last]
    return [*begun, *sorted(last.values(), key=lambda one: -one.number)]


def number_of(query: Query, routes: Sequence[Rollout], history: Sequence[Rollout]) -> int:
    """
    Raises:
        Missing: there is no such rollout, or none of that route.
        UsageError: what is asked for is no number.
    """
    if asked := query.get("number", ""):
        if not (asked.isascii() and asked.isdigit() and len(asked) < 10):
            raise UsageError(f"{asked!r} is no rollout's number", fix="llmlab rollout history")
        if int(asked) not in {one.number for one in history}:
            raise Missing(f"there is no rollout {asked}", fix="llmlab rollout history")
        return int(asked)
    route = query.get("route", "")
    found = [one.number for one in routes if route in ("", one.route)]
    if not found:
        raise Missing(
            f"there was no rollout of {route or 'any route'} yet",
            fix=f"llmlab rollout start canary MODEL "
            f"--route {route or SUMMARIZE}",
        )  # fmt: skip
    return found[0]


def shown(desk: Desk, view: View, visitor: Visitor, *, newest: bool) -> Shown:
    one = view.rollout
    # On a clock that ticks seldom: else the page would be another one each second, and sent anew.
    coarse = replace(view, now=math.ceil(view.now / TICK) * TICK)
    told = report(Rollouts(desk.lab), desk.store, one.number, coarse.now)
    verdict = one.verdict or (one.judged[-1].verdict if one.judged and one.over else None)
    acts = visitor.operates and newest and view.running
    drilled = {} if one.over else {
        name: said for name, said in drills.active(desk.lab).items()
        if name in {arm.deployment for arm in (one.stable, *one.arms)}
    }  # fmt: skip
    return Shown(
        view, newest, capital(because(one)), coarse.next_told(in_words), verdict,
        tuple(tile(each, over=one.over) for each in verdict.findings) if verdict else (),
        tuple(steps(one)),
        picture.measured(told) if not one.over else {}, tuple(picture.panels(told)),
        tuple(picture.wealth(told)), tuple(picture.marks(told)),
        tuple(lines(told, newest_first=True)), told,
        tuple(buttons(one, view.now)) if acts else (),
        undoes(desk.lab, one.route) if acts and one.over else "", drilled,
        worst(desk, one.number) if visitor.operates else None,
    )  # fmt: skip


def because(one: Rollout) -> str:
    """Why it is where it is, in one sentence; the tiles have the numbers."""
    if one.ending:
        return one.ending
    broke = one.judged[-1].verdict.broke if one.judged else ""
    if one.paused is Paused.BROKE and broke:
        return f"{one.paused}: {broke}"
    if one.phase is Phase.STARTING:
        return f"{one.target} is being started; it gets requests once it answers"
    said = _so_far(one)
    if one.paused:
        return f"{one.paused}; {said}" if said else str(one.paused)
    if said or not (one.setbacks and broke):
        return said or "nothing is known of this step yet"
    return f"back by a step: {broke}"


def _so_far(one: Rollout) -> str:
    """What its newest verdict comes to; "" without one."""
    verdict = one.verdict
    if verdict is None:
        return ""
    if one.kind is Kind.AB:
        return "the two are compared until a person promotes one of them"
    open_ = [each.metric for each in verdict.findings if each.outcome is Outcome.INCONCLUSIVE]
    if verdict.outcome is Outcome.INCONCLUSIVE and open_:
        return f"not decided yet: {', '.join(open_)}"
    if verdict.outcome is Outcome.PASS:
        return "every test of the gate passes"
    return verdict.reason


def capital(said: str) -> str:
    """With a large first letter, and the others as they are."""
    return said[:1].upper() + said[1:]


def steps(one: Rollout) -> list[Step]:
    """Of a canary; of the others there is nothing to show as steps."""
    if one.kind is not Kind.CANARY:
        return []
    found = []
    for number in range(1, one.last_step + 1):
        reached = one.step + (bool(one.promoted) or one.baking)  # promoted in full, it skips some
        done = number < reached
        now = number == one.step and not one.over
        ended = one.phase is Phase.ABORTED and number == one.step
        look = "ended" if ended else _look(done, now)
        found.append(Step(f"{one.share_at(number):g} %{one.held_at(number)}", look))
    if one.rules.bake:
        watched = f"watched for {in_words(one.rules.bake)}"
        found.append(
            Step(watched, _look(bool(one.promoted) and one.baking, one.baking and not one.over))
        )
    return found


def _look(done: bool, now: bool) -> str:
    return "done" if done else "now" if now else "later"


def pairs_view(desk: Desk, number: int) -> PairsView:
    return PairsView(Rollouts(desk.lab).get(number), WorstPairs(desk.lab).of(number))


def worst(desk: Desk, number: int) -> Worst | None:
    """None where no pair was kept."""
    try:
        view = pairs_view(desk, number)
    except LlmlabError as error:
        return Worst(why_not=error.message)
    if view.worst is None:
        return None
    mine, theirs = view.marked()
    return Worst(view.shown(), mine, theirs)


# --- what else there is to read -----------------------------------------------------------------


def document(found: Found) -> Any:
    """As `llmlab rollout get -o json`."""
    if found.one is None:
        raise Missing("there was no rollout yet", fix="llmlab rollout start canary MODEL")
    return found.one.view.as_json()


@dataclass(frozen=True)
class History:
    """All rollouts, the newest first."""

    rollouts: tuple[Rollout, ...]
    looks: dict[Phase, tuple[str, str]] = field(default_factory=lambda: LOOKS)

    def as_json(self) -> list[dict[str, Any]]:
        """As `llmlab rollout history -o json`: the oldest first."""
        return [one.as_json() for one in reversed(self.rollouts)]


def history(desk: Desk, query: Query, visitor: Visitor) -> History:
    del query, visitor
    return History(tuple(reversed(Rollouts(desk.lab).history())))


def pairs(desk: Desk, query: Query, visitor: Visitor) -> PairsView:
    if not visitor.operates:
        raise AuthError(
            "What clients have sent is for operators", fix="llmlab console, without --viewer"
        )
    rollouts = Rollouts(desk.lab)
    history = rollouts.history()
    routes = of_routes(history, rollouts.routes())
    return pairs_view(desk, number_of(query, routes, history))


PAGES: Sequence[Page] = (
    Page(
        "rollout",
        "Rollout",
        "rollout.html.j2",
        gather,
        live=True,
        document=document,
        asks=("number", "route"),
    ),
    Page("rollout/history", "", "rollout_history.html.j2", history, menu="rollout"),
    Page(
        "rollout/pairs",
        "",
        "rollout_pairs.html.j2",
        pairs,
        menu="rollout",
        asks=("number", "route"),
    ),
    *PLANNED,
)
CHANGES: Sequence[Change] = (*CHANGED, *BEGUN)
