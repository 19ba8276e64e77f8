"""The state machine of rollouts: every phase with every event, and what holds whatever happens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlab.errors import UsageError
from llmlab.rollout.machine import (
    Abort,
    Deployed,
    DeployFailed,
    Event,
    Pause,
    Promote,
    Resume,
    Settled,
    Tick,
    step,
)
from llmlab.rollout.routes import traffic_of
from llmlab.rollout.state import OVER, Kind, Outcome, Paused, Phase, Rollout
from llmlab.traffic import Deployed as DeployedBeside
from llmlab.traffic import Flag, Match, Traffic
from tests.rollouts import RULES, at, rollout, verdict
from tests.summarizing import route_of, summarizing

PASS, FAIL = Outcome.PASS, Outcome.FAIL
OPEN, NONE = Outcome.INCONCLUSIVE, Outcome.NONE
SOON, LATER, LATE = 1030.0, 1060.0, 1600.0  # within the interval, after it, after the deadline
REFUSED, SAME = "!", "-"

EVENTS: dict[str, Event] = {
    "deployed": Deployed(),
    "deploy failed": DeployFailed("it is too large"),
    "tick, pass": Tick(verdict(PASS)),
    "tick, fail": Tick(verdict(FAIL)),
    "tick, inconclusive": Tick(verdict(OPEN)),
    "tick, nothing": Tick(verdict(NONE)),
    "settled": Settled(),
    "promote": Promote(),
    "promote full": Promote(full=True),
    "promote arm": Promote(arm="tuned-2"),
    "pause": Pause(),
    "resume": Resume(),
    "abort": Abort("I say so"),
}
PHASES = [
    Phase.STARTING, Phase.PROGRESSING, Phase.PAUSED, Phase.COMPLETING, Phase.COMPLETED,
    Phase.ABORTING, Phase.ABORTED,
]  # fmt: skip
# A canary at its second step, after the interval. `-`: nothing changes; `!`: refused.
CANARY = """
                   | starting    progressing  paused       completing completed aborting aborted
deployed           | progressing -            -            -          -         -        -
deploy failed      | aborting    -            -            -          -         -        -
tick, pass         | -           progressing3 paused       -          -         -        -
tick, fail         | -           aborting     aborting     -          -         -        -
tick, inconclusive | -           progressing  paused       -          -         -        -
tick, nothing      | -           progressing  paused       -          -         -        -
settled            | -           -            -            completed  -         aborted  -
promote            | !           progressing3 progressing3 !          !         !        !
promote full       | !           completing   completing   !          !         !        !
promote arm        | !           progressing3 progressing3 !          !         !        !
pause              | !           paused       !            !          !         !        !
resume             | !           !            progressing  !          !         !        !
abort              | aborting    aborting     aborting     aborting   !         aborting !
"""
BLUEGREEN = """
tick, pass         | -           paused       paused       -          -         -        -
promote            | !           completing   completing   !          !         !        !
promote arm        | !           completing   completing   !          !         !        !
"""
AB = """
tick, pass         | -           progressing  paused       -          -         -        -
tick, fail         | -           progressing  paused       -          -         -        -
promote            | !           !            !            !          !         !        !
promote full       | !           !            !            !          !         !        !
promote arm        | !           completing   completing   !          !         !        !
"""
SHADOW = """
tick, pass         | -           completing   paused       -          -         -        -
promote            | !           !            !            !          !         !        !
promote full       | !           !            !            !          !         !        !
promote arm        | !           !            !            !          !         !        !
"""


def table(text: str) -> dict[str, list[str]]:
    rows = (line.split("|") for line in text.strip("\n").splitlines())
    return {name.strip(): cells.split() for name, cells in rows if name.strip()}


TABLES = {
    Kind.CANARY: table(CANARY), Kind.BLUEGREEN: table(CANARY) | table(BLUEGREEN),
    Kind.AB: table(CANARY) | table(AB), Kind.SHADOW: table(CANARY) | table(SHADOW),
}  # fmt: skip


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("phase", PHASES)
def test_what_follows_from_each_event_in_each_phase(kind: Kind, name: str, phase: Phase) -> None:
    before, expected = at(phase, kind), TABLES[kind][name][PHASES.index(phase)]
    if expected == REFUSED:
        with pytest.raises(UsageError) as error:
            step(before, EVENTS[name], LATER)
        assert error.value.fix
        return
    after = step(before, EVENTS[name], LATER)
    if expected == SAME:
        assert after == before
    else:
        wanted = expected.rstrip("3")
        assert after.phase == wanted
        assert expected == wanted or after.step == 3


def test_the_table_leaves_out_no_phase_and_no_event() -> None:
    assert set(PHASES) == set(Phase)
    for table in TABLES.values():
        assert set(table) == set(EVENTS) and all(len(row) == len(Phase) for row in table.values())


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("phase", [one for one in Phase if one not in OVER])
def test_abort_wins_from_every_phase_that_is_not_over(kind: Kind, phase: Phase) -> None:
    after = step(at(phase, kind), Abort(), LATER)
    assert after.phase is Phase.ABORTING and not after.promoted
    wanted = route_of(traffic_of(after, traffic_of(at(phase, kind), Traffic())))
    assert wanted.weights("base") == {"base": 100} and wanted.split is wanted.shadow is None


# --- canary, step by step -----------------------------------------------------------------


def test_a_canary_goes_through_its_steps_and_then_is_stable() -> None:
    one, now = step(rollout(), Deployed(), 0.0), 0.0
    seen = [one.percent]
    while one.phase is Phase.PROGRESSING:
        now += 60
        one = step(one, Tick(verdict(PASS)), now)
        seen.append(one.percent)
    assert seen[:5] == [5, 25, 50, 95, 95], "5 % stay where they were, to compare with"
    assert set(seen[5:]) == {95} and len(seen[5:]) == 10, "ten minutes in which it is watched"
    assert (one.phase, one.promoted) == (Phase.COMPLETING, "tuned-2")
    assert [kept.step for kept in one.judged] == [1, 2, 3, 4, 4]


def baking(**rules: Any) -> Rollout:
    """One that has passed all of its steps."""
    last = at(Phase.PROGRESSING, rules=replace(RULES, **rules), step=4, percent=95.0)
    return step(last, Tick(verdict(PASS)), LATER)


def test_what_fails_after_its_last_step_is_still_taken_back() -> None:
    one = baking()
    assert one.baking and one.phase is Phase.PROGRESSING and not one.promoted
    failed = step(one, Tick(verdict(FAIL)), LATER + 1)
    assert failed.phase is Phase.ABORTING and not failed.promoted


def test_a_watch_of_no_time_ends_with_the_last_step() -> None:
    assert baking(bake=0.0).promoted == "tuned-2"


def test_what_is_not_decided_when_the_watch_is_over_waits_as_at_a_step() -> None:
    one, over = baking(), LATER + 600
    assert step(one, Tick(verdict(OPEN)), over).phase is Phase.PROGRESSING
    assert step(one, Tick(verdict(PASS)), over).promoted == "tuned-2"
    assert step(one, Tick(verdict(OPEN)), over + 600).paused is Paused.DEADLINE


def test_a_person_may_end_the_watch() -> None:
    assert step(baking(), Promote(), LATER + 1).promoted == "tuned-2"
    held = step(step(baking(), Pause(), LATER + 1), Resume(), LATER + 2)
    assert held.baking and held.percent == 95, "a pause does not end it"


def test_what_looks_broken_gives_traffic_back_at_once_and_is_tried_again() -> None:
    broke = Tick(replace(verdict(OPEN), broke="10 % errors within the last minute"))
    one = step(baking(), broke, LATER + 1)
    assert (one.phase, one.step, one.percent, one.baking) == (Phase.PROGRESSING, 3, 50, False)
    one = step(one, broke, LATER + 2)
    assert (one.phase, one.step, one.percent) == (Phase.PROGRESSING, 2, 25)
    one = step(one, broke, LATER + 3)
    assert (one.phase, one.step, one.paused) == (Phase.PAUSED, 1, Paused.BROKE)
    assert step(one, broke, LATER + 4).step == 1


def test_a_pause_with_errors_above_what_is_allowed_gives_the_traffic_back() -> None:
    above = Tick(replace(verdict(OPEN), above=True))
    one = step(at(Phase.PROGRESSING), above, LATE)
    assert (one.paused, one.step, one.percent) == (Paused.DEADLINE, 2, 5)
    assert step(one, Resume(), LATE + 1).percent == 25
    first = replace(at(Phase.PROGRESSING), step=1, percent=5.0)
    assert step(first, above, LATE).percent == 0, "nothing was good before"


def test_a_step_takes_its_interval_even_if_the_gate_passes_at_once() -> None:
    assert step(at(Phase.PROGRESSING), Tick(verdict(PASS)), SOON).step == 2
    assert step(at(Phase.PROGRESSING), Tick(verdict(PASS)), LATER).step == 3


def test_a_failing_gate_does_not_wait_for_the_interval() -> None:
    one = step(at(Phase.PROGRESSING), Tick(verdict(FAIL)), SOON)
    assert (one.phase, one.ending) == (Phase.ABORTING, "errors: fail")
    assert one.judged[-1].verdict.outcome is FAIL


def test_a_pass_without_a_single_sample_promotes_nothing() -> None:
    empty = replace(verdict(PASS), samples=0)
    one = step(at(Phase.PROGRESSING), Tick(empty), LATE)
    assert (one.phase, one.paused) == (Phase.PAUSED, Paused.NO_TRAFFIC)


@pytest.mark.parametrize(
    ("outcome", "waiting", "how", "when", "expected"),
    [
        (OPEN, True, "wait", LATER, None),
        (OPEN, True, "wait", LATE, Paused.DEADLINE),
        (OPEN, True, "pause", SOON, None),
        (OPEN, True, "pause", LATER, Paused.INCONCLUSIVE),
        (OPEN, False, "wait", LATER, Paused.INCONCLUSIVE),
        (NONE, True, "wait", LATER, None),
        (NONE, True, "wait", LATE, Paused.NO_TRAFFIC),
        (NONE, True, "pause", LATER, Paused.NO_TRAFFIC),
    ],
)
def test_what_is_not_decided_waits_or_pauses(
    outcome: Outcome, waiting: bool, how: Any, when: float, expected: Paused | None
) -> None:
    before = at(Phase.PROGRESSING, rules=replace(RULES, on_inconclusive=how))
    one = step(before, Tick(verdict(outcome, waiting=waiting)), when)
    assert one.paused == expected
    assert one.phase is (Phase.PAUSED if expected else Phase.PROGRESSING)


def test_a_deadline_may_abort_instead() -> None:
    before = at(Phase.PROGRESSING, rules=replace(RULES, on_deadline="abort"))
    one = step(before, Tick(verdict(NONE)), LATE)
    assert one.phase is Phase.ABORTING
    assert one.ending.startswith("no traffic reached the candidate (600 s)")


def test_the_clock_of_a_step_begins_anew_when_it_is_resumed() -> None:
    one = step(step(at(Phase.PROGRESSING), Pause(), SOON), Resume(), LATE)
    assert step(one, Tick(verdict(OPEN)), LATE + 60).phase is Phase.PROGRESSING


# --- the other kinds ------------------------------------------------------------------------


def test_blue_green_waits_for_a_person_unless_it_is_to_switch_by_itself() -> None:
    waits = step(at(Phase.PROGRESSING, Kind.BLUEGREEN), Tick(verdict(PASS)), LATER)
    assert waits.paused is Paused.PREVIEW
    by_itself = at(Phase.PROGRESSING, Kind.BLUEGREEN, auto_promote=True)
    assert step(by_itself, Tick(verdict(PASS)), LATER).promoted == "tuned-2"


@pytest.mark.parametrize("named", ["base", "tuned-2", "tuned:2"])
def test_a_person_chooses_between_a_and_b(named: str) -> None:
    one = step(at(Phase.PROGRESSING, Kind.AB), Promote(arm=named), LATER)
    assert one.promoted == named.replace(":", "-")


def test_promoting_what_a_rollout_does_not_try_is_refused() -> None:
    for kind in (Kind.CANARY, Kind.AB):
        with pytest.raises(UsageError, match="another"):
            step(at(Phase.PROGRESSING, kind), Promote(arm="another"), LATER)


def test_undo_is_done_once_what_had_the_traffic_runs_again() -> None:
    one = step(rollout(Kind.UNDO), Deployed(), LATER)
    assert (one.phase, one.promoted) == (Phase.COMPLETING, "tuned-2")


# --- whatever happens -------------------------------------------------------------------------

TICKS = [Tick(verdict(one, samples=n)) for one in Outcome for n in (0, 40)]
TICKS += [Tick(replace(verdict(OPEN), broke="it broke")), Tick(replace(verdict(OPEN), above=True))]
ANY_EVENT = st.sampled_from([*EVENTS.values(), Promote(arm="base"), *TICKS])
ANY_RULES = st.builds(
    replace, st.just(RULES), on_deadline=st.sampled_from(["pause", "abort"]),
    on_inconclusive=st.sampled_from(["pause", "wait"]),
    steps=st.sampled_from([(100.0,), (5.0, 100.0), (5.0, 25.0, 50.0, 100.0)]),
)  # fmt: skip
FOREIGN = summarizing(
    deployments=(DeployedBeside("older", "older:1", rollout=0), DeployedBeside("mine", "mine")),
    matches=(Match("header", "X-Beta", "yes", "mine"),),
    flags=(Flag("short", percent=10, decoding={"max_length": 20}),),
)


@given(
    kind=st.sampled_from(list(Kind)), rules=ANY_RULES, auto=st.booleans(),
    events=st.lists(st.tuples(ANY_EVENT, st.sampled_from([1.0, 61.0, 700.0])), max_size=30),
)  # fmt: skip
def test_whatever_happens_the_traffic_is_sane_and_nothing_is_promoted_without_a_reason(
    kind: Kind, rules: Any, auto: bool, events: list[tuple[Event, float]]
) -> None:
    one = rollout(kind, rules=rules, auto_promote=auto, retired="older")
    traffic, now, reasons = traffic_of(one, FOREIGN), 1000.0, 0
    for event, seconds in events:
        now += seconds
        before = one
        try:
            one = step(one, event, now)
        except UsageError:
            assert one == before
            continue
        if before.phase in OVER:
            assert one == before, "what is over stays as it is"
        person = isinstance(event, Promote)
        passed = isinstance(event, Tick) and event.verdict.outcome is PASS
        passed = passed and event.verdict.samples > 0  # type: ignore[union-attr]
        went_on = one.step > max(1, before.step) or (one.promoted and not before.promoted)
        if went_on and kind is not Kind.UNDO:
            assert person or passed, "neither a person nor the gate let it go on"
            reasons += 1
        traffic = traffic_of(one, traffic)
        _is_sane(one, traffic)
    assert one.step <= 1 + reasons


def _is_sane(one: Rollout, traffic: Traffic) -> None:
    route = route_of(traffic)
    assert sum(route.weights("base").values()) == pytest.approx(100)
    assert traffic_of(one, traffic) == traffic, "wanted twice, it is the same"
    there = {"base", *(beside.name for beside in traffic.deployments)}
    assert traffic.targets() <= there, "no request goes where nothing runs"
    assert len(traffic.deployments) == len({beside.name for beside in traffic.deployments})
    assert "mine" in there and traffic.flags == FOREIGN.flags, "a person's things stay"
    assert route_of(FOREIGN).matches[0] in route.matches
    trying = one.phase in (Phase.PROGRESSING, Phase.PAUSED)
    if not trying:
        assert route.split is None and route.shadow is None
        whole = one.promoted or "base"
        assert route.weights("base")[whole] == 100
    if one.phase in (Phase.ABORTING, Phase.ABORTED):
        assert "tuned-2" not in there, "what it had started is not wanted any more"
