"""Rollouts in the delivery database: one transaction with the traffic and the ledger."""

from __future__ import annotations

import json
import random
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmlab.errors import LlmlabError, UsageError
from llmlab.lab import Lab
from llmlab.ledger import chain
from llmlab.ledger.store import Store
from llmlab.rollout.evidence import Evidence
from llmlab.rollout.machine import Abort, Deployed, Pause, Promote, Settled, Tick, step
from llmlab.rollout.seen import seen_in
from llmlab.rollout.state import Outcome, Phase, Rollout
from llmlab.rollout.store import CONTROLLER, Rollouts
from tests.rollouts import OTHER, line, rollout, verdict


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture
def rollouts(lab: Lab) -> Rollouts:
    return Rollouts(lab)


def begin(rollouts: Rollouts, **values: Any) -> Rollout:
    return rollouts.create(lambda number, traffic, history: rollout(number=number, **values))


def entries(lab: Lab) -> list[chain.Entry]:
    with Store(lab).database.reading() as connection:
        assert chain.problems(connection) == []
        return list(chain.entries(connection))


def go(rollouts: Rollouts, event: Any, now: float = 2000.0, **how: Any) -> Rollout:
    return rollouts.change(1, type(event).__name__, lambda one: step(one, event, now), **how)


def test_a_lab_without_rollouts_has_none(rollouts: Rollouts, lab: Lab) -> None:
    assert rollouts.unfinished() is None and rollouts.last() is None and rollouts.history() == []
    assert not (lab.state / "delivery.db").exists()


def test_a_begun_rollout_is_unfinished_and_wants_its_candidate(rollouts: Rollouts) -> None:
    begun = begin(rollouts, why="it is better")
    kept = rollouts.unfinished()
    assert kept and kept.rollout == begun == rollouts.get(1).rollout
    assert [one.name for one in rollouts.traffic().deployments] == ["tuned-2"]


def test_there_is_one_at_a_time(rollouts: Rollouts) -> None:
    begin(rollouts)
    with pytest.raises(UsageError, match=r"rollout 1 \(canary of tuned-2\) is under way") as error:
        begin(rollouts)
    assert "abort" in (error.value.fix or "")
    go(rollouts, Abort())
    with pytest.raises(UsageError):
        begin(rollouts)
    go(rollouts, Settled())
    assert begin(rollouts).number == 2


def test_the_ledger_tells_each_change_with_who_and_why(rollouts: Rollouts, lab: Lab) -> None:
    begin(rollouts, why="it is better")
    go(rollouts, Deployed(), who=CONTROLLER)
    go(rollouts, Pause(), who="ada", why="lunch")
    go(rollouts, Promote(full=True), who="ada")
    go(rollouts, Settled(), who=CONTROLLER)
    told = [(one.kind, one.who, one.why) for one in entries(lab) if one.kind == "rollout"]
    assert told == [
        ("rollout", "ada", "it is better"),
        ("rollout", CONTROLLER, ""),
        ("rollout", "ada", "lunch"),
        ("rollout", "ada", "promoted in full by a person"),
        ("rollout", CONTROLLER, "promoted in full by a person"),
    ]
    last = entries(lab)[-1].document
    assert (last["rollout"], last["event"], last["phase"]) == (1, "Settled", "completed")


def test_a_route_entry_has_the_traffic_and_its_number_is_the_revision(
    rollouts: Rollouts, lab: Lab
) -> None:
    begin(rollouts)
    go(rollouts, Deployed())
    last = [one for one in entries(lab) if one.kind == "route"][-1]
    assert rollouts.traffic().revision == last.seq == last.document["traffic"]["revision"]
    route = last.document["traffic"]["routes"]["summarize"]
    assert route["split"]["shares"] == [{"deployment": "tuned-2", "percent": 5}]


def test_a_verdict_that_decides_something_is_in_the_ledger_and_others_are_not(
    rollouts: Rollouts, lab: Lab
) -> None:
    begin(rollouts)
    go(rollouts, Deployed(), 2000.0)
    go(rollouts, Tick(verdict(Outcome.INCONCLUSIVE)), 2010.0)
    go(rollouts, Tick(verdict(Outcome.PASS)), 2070.0)
    go(rollouts, Tick(verdict(Outcome.FAIL)), 2080.0)
    told = [(one.document["step"], one.document["outcome"]) for one in entries(lab)
            if one.kind == "verdict"]  # fmt: skip
    assert told == [(1, "pass"), (2, "fail")]
    routes = [one.why for one in entries(lab) if one.kind == "route"]
    assert routes[-2] == "step 1 passed" and routes[-1].endswith(verdict(Outcome.FAIL).reason)


def test_a_step_back_is_told_by_what_broke(rollouts: Rollouts, lab: Lab) -> None:
    begin(rollouts)
    go(rollouts, Deployed(), 2000.0)
    go(rollouts, Tick(verdict(Outcome.PASS)), 2070.0)
    broke = replace(verdict(Outcome.PASS), broke="20 % errors within the last minute")
    assert go(rollouts, Tick(broke), 2080.0).setbacks == 1
    last = [one for one in entries(lab) if one.kind == "route"][-1]
    assert (last.document["step"], last.why) == (1, "20 % errors within the last minute")


def test_a_verb_that_is_refused_changes_nothing(rollouts: Rollouts, lab: Lab) -> None:
    begin(rollouts)
    before = entries(lab), rollouts.traffic(), rollouts.get(1)
    with pytest.raises(UsageError):
        go(rollouts, Pause())
    assert (entries(lab), rollouts.traffic(), rollouts.get(1)) == before


def test_evidence_is_kept_beside_and_verbs_leave_it_alone(rollouts: Rollouts) -> None:
    begin(rollouts)
    go(rollouts, Deployed())
    evidence = rollouts.get(1).evidence
    seen = seen_in(line("tuned-2"))
    assert seen
    evidence.cursor = "17"
    evidence.add(seen)
    rollouts.change(1, "judged", lambda one: one, evidence=evidence)
    go(rollouts, Pause())
    assert rollouts.get(1).evidence == evidence


def test_who_asks_for_a_rollout_that_is_not_there_is_told_so(rollouts: Rollouts) -> None:
    with pytest.raises(UsageError, match="there is no rollout 7"):
        rollouts.get(7)


def test_a_document_that_nobody_can_read_is_said_so(rollouts: Rollouts, lab: Lab) -> None:
    begin(rollouts)
    connection = sqlite3.connect(lab.state / "delivery.db")
    with connection:
        connection.execute("UPDATE rollouts SET document = ?", (json.dumps({"rollout": {}}),))
    connection.close()
    with pytest.raises(LlmlabError, match="rollout 1 cannot be read"):
        rollouts.unfinished()


def test_a_rollout_of_an_earlier_version_is_still_shown(rollouts: Rollouts, lab: Lab) -> None:
    begun = begin(rollouts)
    old = begun.as_json()
    for name in ("latency_gate", "holdback", "bake"):
        del old["rules"][name]
    for name in ("baking", "setbacks"):
        del old[name]
    old["rules"] |= {"latency_ratio": 1.5, "latency_margin": 0.1, "error_margin": 0.05}
    wealth = {"side": "above", "bound": 0.05, "logs": [0.1, 0.2], "n": 3}
    bets = {"worse": wealth, "as_good": wealth, "tested": [], "base": []}
    count = {"requests": 3, "errors": 0, "probes": 0, "probe_errors": 0, "timed": 3, "slow": 1}
    arm = {"total": count, "step": count, "latencies": [0.2], "probe_latencies": [],
           "errors": [0.0], "slow": [1.0]}  # fmt: skip
    known = {
        "tested_name": "tuned-2", "base_name": "base", "errors": bets, "latency": bets,
        "compares": False, "cursor": "1:2:3", "step": 1, "tested": arm, "base": arm, "texts": {},
    }  # fmt: skip
    with Store(lab).writing() as connection:
        connection.execute(
            "UPDATE rollouts SET document = ?", (json.dumps({"rollout": old, "evidence": known}),)
        )
    kept = rollouts.get(1)
    assert kept.rollout.rules.error_margin == 0.05 and kept.rollout.rules.latency_gate
    assert kept.evidence == Evidence.of(kept.rollout)
    assert [one.number for one in rollouts.history()] == [1]


def test_whatever_is_done_in_whatever_order_the_chain_holds(rollouts: Rollouts, lab: Lab) -> None:
    chance = random.Random(4)
    events = [Deployed(), Settled(), Pause(), Abort(), Promote(), Promote(full=True),
              *(Tick(verdict(one)) for one in Outcome)]  # fmt: skip
    begin(rollouts)
    now, number = 2000.0, 1
    for _ in range(120):
        now += chance.choice([1.0, 61.0])
        event = chance.choice(events)
        try:
            after = rollouts.change(number, "event", lambda one: step(one, event, now))  # noqa: B023
        except UsageError:
            continue
        if after.over:
            number = begin(rollouts).number
    last = [one.document["traffic"] for one in entries(lab) if "traffic" in one.document][-1]
    assert json.loads(rollouts.traffic().dump()) == last
    assert sum(one.phase in (Phase.COMPLETED, Phase.ABORTED) for one in rollouts.history()) > 3


def test_a_rollout_of_another_lab_toml_keeps_the_rules_it_began_with(rollouts: Rollouts) -> None:
    rules = replace(rollout().rules, steps=(50.0, 100.0), alpha=0.01)
    begin(rollouts, rules=rules)
    assert rollouts.get(1).rollout.rules == rules


# --- several routes -----------------------------------------------------------------------


def test_a_rollout_of_before_there_were_several_routes_is_one_of_summarize(
    rollouts: Rollouts, lab: Lab
) -> None:
    begun = begin(rollouts)
    document = begun.as_json() | {"route": "/summarize/"}
    evidence = Evidence.of(begun).dump()
    with Store(lab).writing() as connection:
        connection.execute(
            "UPDATE rollouts SET document = ?",
            (json.dumps({"rollout": document, "evidence": evidence}),),
        )
        connection.execute(
            "UPDATE state SET document = ? WHERE name = 'rollout'",
            (json.dumps({"unfinished": True, "number": 1}),),
        )
    kept = rollouts.unfinished()
    assert kept and kept.rollout == begun and kept.rollout.route == "summarize"
    assert rollouts.routes() == ["summarize"]
    go(rollouts, Abort())
    assert go(rollouts, Settled()).over and rollouts.routes() == []


def test_the_state_of_before_says_that_none_is_under_way(rollouts: Rollouts, lab: Lab) -> None:
    begin(rollouts)
    with Store(lab).writing() as connection:
        connection.execute(
            "UPDATE state SET document = ? WHERE name = 'rollout'",
            (json.dumps({"unfinished": False, "number": 1}),),
        )
    assert rollouts.unfinished() is None and rollouts.routes() == []


def test_each_route_has_one_rollout_at_a_time(rollouts: Rollouts) -> None:
    first, second = begin(rollouts), begin(rollouts, route="chat")
    assert (first.number, second.number) == (1, 2)
    assert rollouts.routes() == ["summarize", "chat"]
    for route in ("summarize", "chat"):
        with pytest.raises(UsageError, match=f"the route {route} has one at a time"):
            begin(rollouts, route=route)
        kept = rollouts.unfinished(route)
        assert kept and kept.rollout.route == route
    assert rollouts.unfinished("support") is None
    assert [one.number for one in rollouts.history()] == [1, 2]


def test_while_several_are_under_way_one_has_to_be_named(rollouts: Rollouts) -> None:
    begin(rollouts)
    begin(rollouts, route="chat")
    for ask in (rollouts.unfinished, rollouts.current):
        with pytest.raises(UsageError, match="under way on summarize and chat") as several:
            ask()
        assert several.value.fix == "name one of them: --route summarize"
    go(rollouts, Abort())
    go(rollouts, Settled())
    kept = rollouts.unfinished()
    assert kept and kept.rollout.route == "chat", "the only one that is left"
    last = rollouts.last("summarize")
    assert last and last.rollout.phase is Phase.ABORTED


def test_each_moves_the_shares_of_its_own_route(rollouts: Rollouts, lab: Lab) -> None:
    begin(rollouts)
    begin(rollouts, route="chat", arms=(OTHER,), started=("other",))
    go(rollouts, Deployed())
    traffic = rollouts.traffic()
    assert traffic.route("summarize").weights("base") == {"tuned-2": 5, "base": 95}
    assert traffic.route("chat").weights("base") == {"base": 100}
    assert [one.name for one in traffic.deployments] == ["tuned-2", "other"]
    rollouts.change(2, "Deployed", lambda one: step(one, Deployed(), 2000.0))
    go(rollouts, Abort())
    go(rollouts, Settled())
    traffic = rollouts.traffic()
    assert traffic.route("summarize").weights("base") == {"base": 100}
    assert traffic.route("chat").weights("base") == {"other": 5, "base": 95}
    assert [one.name for one in traffic.deployments] == ["other"]
    last = [one.document["traffic"] for one in entries(lab) if "traffic" in one.document][-1]
    assert json.loads(traffic.dump()) == last


def test_a_candidate_of_two_routes_runs_until_neither_needs_it(rollouts: Rollouts) -> None:
    begin(rollouts)
    go(rollouts, Deployed())
    begin(rollouts, route="chat", started=())  # it was there already, and has no traffic here yet
    go(rollouts, Abort())
    go(rollouts, Settled())
    assert [one.name for one in rollouts.traffic().deployments] == ["tuned-2"]
    rollouts.change(2, "Deployed", lambda one: step(one, Deployed(), 2000.0))
    assert rollouts.traffic().route("chat").weights("base") == {"tuned-2": 5, "base": 95}
