"""Bring a running lab to what is wanted of it. May be killed at any moment, and run again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from llmlab.delivery import drills
from llmlab.delivery.merging import merge
from llmlab.engines.base import Engine, Plan, Say
from llmlab.engines.choice import running_engine
from llmlab.engines.record import Record
from llmlab.engines.resting import needed
from llmlab.engines.turns import gateway_turn, processes_turn
from llmlab.errors import LlmlabError, UpstreamError
from llmlab.lab import Lab
from llmlab.ledger.store import Store
from llmlab.traffic import Traffic


def apply(lab: Lab, say: Say) -> bool:
    """Deployments and routes: start what is new and wait until it is ready, move the gateway,
    then stop what is not wanted any more, after its last request.

    Returns:
        Whether anything changed.

    Raises:
        UpstreamError: the lab does not run.
        LlmlabError: it goes on as before.
    """
    with processes_turn(lab):
        engine, before = running(lab)
        plan = planned(lab, engine, before, Store(lab).traffic(), say)
        # Also before: one whose end was not reached, by a kill, say, left its drill behind.
        drills.forget(lab, set(plan.names) - set(before.names))
        changed = engine.apply(plan, say)
        drills.forget(lab, set(before.names) - set(plan.names))
        return changed


def route(lab: Lab) -> bool:
    """Only the routes; deployments stay as they are, and nobody has to wait for one, unless one
    that rests is led to, which is woken first.

    Returns:
        Whether anything changed. Once it returns, every new request goes by these routes.

    Raises:
        UpstreamError: the lab does not run.
        LlmlabError: the gateway goes on by the routes from before.
    """
    engine = _engine(lab)
    if _wakes(lab):
        return apply(lab, lambda _: None)
    with gateway_turn(lab):
        return engine.route(Store(lab).traffic())


def _wakes(lab: Lab) -> bool:
    """Whether what is wanted now leads to a deployment that rests. One that is to be woken for
    another reason is for whoever wants that, and may take long: routes do not wait for it."""
    record = Record.read(lab)
    if record is None:
        return False
    now = record.plan()
    wanted = replace(now, traffic=Store(lab).traffic())
    return any(needed(wanted, name) and not now.replicas(name) for name in now.names)


def running(lab: Lab) -> tuple[Engine, Plan]:
    """What runs a lab, and what it was brought up to.

    Raises:
        UpstreamError: nothing does, or nobody knows.
    """
    engine, record = _engine(lab), Record.read(lab)
    if record is None or record.engine != engine.name:
        raise UpstreamError("the lab runs, but not as `llmlab up` started it", fix="llmlab up")
    return engine, record.plan()


def _engine(lab: Lab) -> Engine:
    engine = running_engine(lab)
    if engine is None:
        raise UpstreamError("the lab does not run", fix="llmlab up")
    return engine


def planned(lab: Lab, engine: Engine, plan: Plan, traffic: Traffic, say: Say) -> Plan:
    """What should run: the configured deployments of a plan, and the traffic with its own."""
    return merge(lab, plan, traffic, say, fetch=True, runs_here=engine.name != "compose")


def change(
    lab: Lab,
    kind: str,
    what: Mapping[str, Any],
    how: Callable[[Traffic], Traffic],
    why: str,
    say: Say,
    *,
    who: str = "",
) -> bool:
    """Write a change down, and apply it. Where that fails, what is wanted goes back to what it
    was before, and the ledger says so.

    Returns:
        Whether anything changed.
    """
    store = Store(lab)
    before = store.traffic()
    after = store.change(kind, what, how, why, who=who)
    try:
        return apply(lab, say) or after != before
    except BaseException as error:
        failed = error.message if isinstance(error, LlmlabError) else type(error).__name__

        def back(now: Traffic) -> Traffic:
            # What somebody else has changed meanwhile is for them to take back.
            return replace(before, revision=now.revision) if now == after else now

        store.change(kind, {**what, "failed": failed}, back, f"taken back: {failed}", who=who)
        with contextlib.suppress(LlmlabError):
            route(lab)
        raise
