"""What is written down of a rollout, and the page that shows it."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from llmlab.errors import UsageError
from llmlab.lab import Lab
from llmlab.ledger.store import Store
from llmlab.report.chart import Scale, Series, across, panel, time_ticks, up
from llmlab.rollout.evidence import Evidence
from llmlab.rollout.machine import Deployed, Settled, Tick, step
from llmlab.rollout.observed import Arm
from llmlab.rollout.page import lines, page, row, took
from llmlab.rollout.pairs import Pairs
from llmlab.rollout.picture import marks, panels, seconds, wealth
from llmlab.rollout.report import Report, report
from llmlab.rollout.state import Finding, Kind, Outcome, Phase, Verdict
from llmlab.rollout.store import Rollouts
from llmlab.rollout.trail import MOST, Means, Trail
from tests.reading import Parsed, asks_for
from tests.rollouts import RULES, at, rollout, verdict

EVIL = '<script>alert("x")</script>'
FIGURES = {
    "candidate": 0.25, "candidate_n": 40, "stable": 0.0, "stable_n": 60, "margin": 0.01,
    "fail_wealth": 60.0, "fail_at": 50.0, "pass_wealth": 0.2, "pass_at": 2.1,
}  # fmt: skip


def judged(outcome: Outcome = Outcome.FAIL, said: str = "errors: too many") -> Verdict:
    return Verdict(outcome, said, (Finding("errors", outcome, said, FIGURES),), 40)


def arm(requests: int, errors: int = 0, *latencies: float) -> Arm:
    one = Arm(latencies=list(latencies))
    one.total.requests, one.total.errors = requests, errors
    return one


def trail(*counts: tuple[float, int, int]) -> Trail:
    """Of moments at which the candidate had so many requests and errors, the base 100."""
    found = Trail()
    for when, requests, errors in counts:
        both = arm(requests, errors, 0.2, 0.4), arm(100, 0, 0.1)
        found.note(1000.0 + when, 1, *both, judged(), Pairs())
    return found


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def told(lab: Lab, **values: Any) -> Report:
    """Of a canary that was aborted after its first step."""
    rollouts, store = Rollouts(lab), Store(lab)
    begun = rollouts.create(lambda n, traffic, history: rollout(number=n, **values))
    for event in (Deployed(), Tick(judged()), Settled()):
        rollouts.change(
            begun.number, "judged", lambda one, event=event: step(one, event, 1030.0),  # type: ignore[misc]
            who="controller",
        )  # fmt: skip
    return report(rollouts, store, begun.number, 1030.0)


# --- how the evidence went ---------------------------------------------------------------


def test_the_trail_of_a_long_rollout_is_short_and_ends_with_now() -> None:
    found = Trail()
    for second in range(20_000):
        found.note(float(second), 1, arm(second), arm(0), verdict(Outcome.PASS), Pairs())
        assert found.moments[-1].at == second
    times = [one.at for one in found.moments]
    assert len(times) <= MOST and times == sorted(times) and times[0] == 0
    gaps = [b - a for a, b in pairwise(times)]
    assert max(gaps[:-1]) <= 4 * min(gaps[:-1]), "it is even"


def test_each_step_is_in_the_trail_however_short_it_was() -> None:
    found = Trail(closest=60.0)
    for second in range(10):
        found.note(float(second), 1 + second // 3, arm(1), arm(1), verdict(Outcome.PASS), Pairs())
    assert {one.step for one in found.moments} == {1, 2, 3, 4}


def test_evidence_from_before_there_was_a_trail_has_none() -> None:
    document = Evidence.of(rollout()).dump()
    del document["trail"]
    assert Evidence.parse(document).trail == Trail()


def test_the_trail_keeps_what_was_bet_and_no_metric_on_which_nothing_is() -> None:
    (one,) = trail((1.0, 10, 2)).moments
    assert one.tested.p95 == 0.4 and one.base.p50 == 0.1
    assert {name: (each.worse, each.fail_at) for name, each in one.wealth.items()} == {
        "errors": (60.0, 50.0)
    }


def test_the_trail_keeps_what_all_pairs_have_shown_of_each_measure() -> None:
    found, pairs = Trail(), Pairs.of(replace(RULES, pairs=1.0, pairs_gate="empty<=+0.02"))
    for second in range(3):
        pairs.add({"empty": (float(second == 1), 0.0)})
        if second == 1:
            pairs.begin()  # another step: it is the whole rollout all the same
        found.note(float(10 * second), second, arm(1), arm(1), verdict(Outcome.PASS), pairs)
    assert [one.pairs["empty"] for one in found.moments] == [
        Means(0.0, 0.0, 1), Means(0.5, 0.0, 2), Means(1 / 3, 0.0, 3),
    ]  # fmt: skip


# --- what belongs to a rollout -----------------------------------------------------------


def test_a_report_has_its_own_entries_and_the_drills_of_its_deployments_meanwhile(
    lab: Lab,
) -> None:
    rollouts, store = Rollouts(lab), Store(lab)
    one = rollouts.create(lambda n, traffic, history: rollout(number=n, created=time.time() - 5))
    store.note("drill", {"deployment": "tuned-2", "drill": None}, "meanwhile")
    store.note("drill", {"deployment": "other", "drill": None}, "of another one")
    kinds = [entry.kind for entry in report(rollouts, store, 1, time.time() + 5).entries]
    assert kinds == ["rollout", "route", "drill"]
    ended = one.created - 5
    rollouts.change(1, "ended", lambda one: replace(one, ended=ended))
    kinds = [entry.kind for entry in report(rollouts, store, 1, time.time()).entries]
    assert "drill" not in kinds, "what came after it is none of its"


def test_without_a_number_it_is_the_newest_and_another_is_refused(lab: Lab) -> None:
    rollouts, store = Rollouts(lab), Store(lab)
    with pytest.raises(UsageError, match="there was no rollout yet"):
        report(rollouts, store, None, 0.0)
    told(lab)
    assert report(rollouts, store, None, 0.0).rollout.number == 1
    with pytest.raises(UsageError, match="there is no rollout 7"):
        report(rollouts, store, 7, 0.0)


def test_the_shares_are_those_of_the_routes(lab: Lab) -> None:
    found = [one.percent for one in told(lab).shares()]
    assert found[0] == {"base": 100.0}
    assert {"tuned-2": 5.0, "base": 95.0} in found
    assert found[-1] == {"base": 100.0}


# --- the page -------------------------------------------------------------------------------


def test_the_page_needs_nothing_and_says_first_what_came_of_it(lab: Lab) -> None:
    found = replace(told(lab), moments=tuple(trail((1, 5, 0), (9, 20, 2), (25, 40, 10)).moments))
    html = page(found)
    parsed = Parsed(html)
    assert asks_for(parsed) == [] and parsed.named("script") == []
    assert parsed.words.index("aborted") < parsed.words.index("How it went")
    titles = [one.title for one in [*panels(found), *wealth(found)]]
    assert titles == ["Share", "Errors", "Latency", "errors"]
    assert len(parsed.named("svg")) == len(titles)
    assert "taken back at 50" in html and "nan" not in html.lower()


def test_a_rollout_without_a_trail_has_its_shares_and_says_so(lab: Lab) -> None:
    found = told(lab)
    assert [one.title for one in panels(found)] == ["Share"] and list(wealth(found)) == []
    assert "no course of errors" in page(found)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("phase", Phase)
def test_there_is_a_page_of_every_kind_in_every_phase(kind: Kind, phase: Phase) -> None:
    one = at(phase, kind, verdict=verdict(Outcome.INCONCLUSIVE))
    names = {Kind.AB: "A/B", Kind.BLUEGREEN: "blue-green"}
    said = f"Rollout 1: {names.get(kind, kind)} of {one.target}"
    assert said in page(Report(one, (), (), 1200.0))


def test_whatever_a_person_or_a_model_wrote_is_text_on_the_page(lab: Lab) -> None:
    found = told(lab, who=EVIL, why=EVIL)
    one = replace(found.rollout, ending=EVIL, verdict=judged(said=EVIL), judged=())
    parsed = Parsed(page(replace(found, rollout=replace(one, phase=Phase.PAUSED))))
    assert parsed.named("script") == [] and parsed.words.count(EVIL) >= 3


def test_a_verdict_is_a_row_with_the_candidate_before_the_stable_one(lab: Lab) -> None:
    found = told(lab)
    shown = row(found, found.rollout.judged[-1])
    assert (shown.step, shown.share, shown.outcome) == ("1", "5 %", "fail")
    assert shown.errors == "25.0 % / 0.0 %" and shown.answers == "40"


def test_a_reason_that_a_verdict_gave_is_not_said_again(lab: Lab) -> None:
    found = told(lab)
    whys = [one.why for one in lines(found) if one.why]
    assert whys == ["errors: too many"]
    newest = [(one.seq, one.why) for one in lines(found, newest_first=True)]
    (told_at,) = [seq for seq, why in newest if why == "errors: too many"]
    of_it = [one.seq for one in found.entries if one.why == "errors: too many"]
    assert told_at == max(of_it) > min(of_it)


def test_the_findings_shown_are_those_of_the_end_though_a_person_ended_it(lab: Lab) -> None:
    """And not of the last verdict that something followed from."""
    found, last = told(lab), judged(said="errors: 9 of 40")
    ended = replace(found.rollout, verdict=last, ending="bad answers")
    words = Parsed(page(replace(found, rollout=ended))).words
    assert "errors: 9 of 40" in words and "bad answers" in words


def test_marks_that_are_close_are_one_with_all_their_numbers(lab: Lab) -> None:
    (one,) = marks(told(lab, created=0.0))[-1:]
    first, _, last = one.label.partition("–")
    assert int(first) < int(last)


# --- charts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("took_seconds", "labels"),
    [
        (25.0, ["0", "5 s", "10 s", "15 s", "20 s", "25 s"]),
        (110.0, ["0", "30 s", "60 s", "90 s"]),
        (600.0, ["0", "2 min", "4 min", "6 min", "8 min", "10 min"]),
        (90_000.0, ["0", "5 h", "10 h", "15 h", "20 h", "25 h"]),
        (0.0, ["0", "1 s"]),
    ],
)
def test_the_time_axis_has_round_ticks(took_seconds: float, labels: list[str]) -> None:
    assert [one.label for one in time_ticks(across(took_seconds))] == labels


@pytest.mark.parametrize(
    ("values", "high", "log"),
    [([0.1, 0.3], 0.4, False), ([], 1.0, False), ([0.01, 0.02, 9], 10, True)],
)
def test_an_axis_ends_at_a_round_number_and_bends_for_what_is_far_apart(
    values: list[float], high: float, log: bool
) -> None:
    scale = up(values, 100)
    assert (scale.high, scale.log) == (pytest.approx(high), log)
    assert scale.place(scale.high) == 100 and scale.place(1e9) == 100
    assert scale.place(0.0) == 0


def test_a_line_is_broken_where_nothing_is_known() -> None:
    gaps = Series("a", "a", [(0, 1.0), (1, None), (2, 1.0), (3, 2.0)])
    (line,) = panel("t", "m", [gaps], across(3), Scale(0, 2, 100), str).lines
    assert line.path.count("M") == 2 and line.path.count("L") == 1


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0 s"), (59.9, "59 s"), (125, "2 min 5 s"), (120, "2 min"), (11_400, "3 h 10 min"),
     (200_000, "2 d 7 h")],
)  # fmt: skip
def test_how_long_a_rollout_took(value: float, said: str) -> None:
    assert took(value) == said


@pytest.mark.parametrize(("value", "said"), [(0, "0"), (0.02, "20 ms"), (1.5, "1.5 s")])
def test_seconds_at_an_axis(value: float, said: str) -> None:
    assert seconds(value) == said
