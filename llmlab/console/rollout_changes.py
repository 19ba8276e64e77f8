"""What an operator can do with a rollout from its page, and how they have one misbehave."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from llmlab.console.arriving import why_of
from llmlab.console.desk import Desk
from llmlab.console.pages import Change, Query
from llmlab.console.visitor import Visitor
from llmlab.delivery import drills
from llmlab.errors import LlmlabError, UsageError
from llmlab.lab import Lab
from llmlab.rollout.desk import desk_of, known_of
from llmlab.rollout.machine import Promote
from llmlab.rollout.planning import undo_of
from llmlab.rollout.possible import Way, verb_of, ways
from llmlab.rollout.state import Phase, Rollout
from llmlab.rollout.store import Rollouts
from llmlab.service.drill import TIMED, Drill, Kind

log = logging.getLogger("llmlab.console")
ORDER = ("resume", "pause", "promote", "abort")  # the mildest first: it is what Enter does
FULL = "full"


@dataclass(frozen=True)
class Button:
    """Args:
    value: ``promote``, ``promote full``, ``promote twin``: the verb, and what it says more.
    """

    value: str
    label: str
    look: str


def buttons(one: Rollout, now: float) -> Iterator[Button]:
    """What makes sense now."""
    for way in sorted(ways(one, now), key=lambda way: ORDER.index(way.name)):
        yield Button(_value(way), _label(way), {"abort": "danger", "promote": ""}.get(
            way.name, "quiet"))  # fmt: skip


def _value(way: Way) -> str:
    if isinstance(way.event, Promote):
        return f"promote {FULL if way.event.full else way.event.arm}".strip()
    return way.name


def _label(way: Way) -> str:
    after = way.after
    if not isinstance(way.event, Promote):
        return way.name.capitalize()
    if way.event.full:
        return "Promote in full"
    if after.phase is Phase.COMPLETING:
        return f"Promote {after.promoted}"
    return "On to the last watch" if after.baking else f"Promote to {after.percent:g} %"


def do(desk: Desk, form: Query, visitor: Visitor) -> str:
    rollouts, why = Rollouts(desk.lab), why_of(form)
    one = rollouts.get(whole(form, "number")).rollout
    name, _, more = form.get("do", "").partition(" ")
    event = verb_of(name, full=more == FULL, arm="" if more == FULL else more, why=why)
    current = rollouts.current(one.route)
    if current is None or current.rollout.number != one.number:
        raise UsageError(
            f"rollout {one.number} is not the one of {one.route} any more",
            fix="look at the page of the one that is",
        )
    # Whoever looks at a page waits for nothing: while it starts, there is nothing to promote.
    desk_of(desk.lab, log.info, one.route, patience=0).do(name, event, who=visitor.subject)
    return f"rollout?number={one.number}"


def undo(desk: Desk, form: Query, visitor: Visitor) -> str:
    route = form.get("route", "")
    made = desk_of(desk.lab, log.info, route).undo(
        known_of(desk.lab), to=None, who=visitor.subject, why=why_of(form)
    )
    return f"rollout?number={made.number}"


def undoes(lab: Lab, route: str) -> str:
    """The deployment that an undo would give the traffic to; "" where there is nothing to undo."""
    rollouts = Rollouts(lab)
    if rollouts.unfinished(route):
        return ""
    try:
        made = undo_of(
            known_of(lab), 0, rollouts.traffic(), rollouts.history(), 0.0, to=None, who="", why="",
            route=route,
        )  # fmt: skip
    except LlmlabError:
        return ""
    return made.candidate.deployment


# --- drills -------------------------------------------------------------------------------------


def drill(desk: Desk, form: Query, visitor: Visitor) -> str:
    why, deployment = why_of(form), form.get("deployment", "")
    back = f"rollout?number={whole(form, 'number')}"
    if form.get("kind", "") == "off":
        drills.stop(desk.lab, deployment, why, who=visitor.subject)
        return back
    drills.start(desk.lab, deployment, drill_of(form), why, who=visitor.subject)
    return back


def drill_of(form: Query) -> Drill:
    """
    Raises:
        UsageError: it is none.
    """
    kind, share = form.get("kind", ""), form.get("share", "")
    try:
        seconds = float(form.get("seconds", "") or 2) if Kind(kind) in TIMED else 0.0
        return Drill(kind=Kind(kind), percent=float(share), seconds=seconds)
    except ValidationError as error:
        said = "; ".join(f"{one['loc'][0] if one['loc'] else 'drill'}: {one['msg']}"
                         for one in error.errors())  # fmt: skip
        raise UsageError(said, fix="llmlab drill --help") from None
    except ValueError:
        raise UsageError(
            f"{kind!r} of {share!r} percent is no drill", fix="llmlab drill --help"
        ) from None


# --- what forms say -----------------------------------------------------------------------------


def whole(form: Query, name: str) -> int:
    found = form.get(name, "")
    if not (found.isascii() and found.isdigit() and len(found) < 10):
        raise UsageError(f"{name}: {found!r} is no whole number", fix="llmlab rollout history")
    return int(found)


CHANGES: Sequence[Change] = (
    Change("rollout/do", do),
    Change("rollout/undo", undo),
    Change("rollout/drill", drill),
)
