"""What the gateway's log says of a candidate, and the verdict in words."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from llmlab.rollout.evidence import FEWEST, Evidence, Seen, seen_in
from llmlab.rollout.judging import fail_levels, judge, pass_level
from llmlab.rollout.state import Finding, Kind, Outcome, Phase, Rollout, Verdict
from llmlab.service.schemas import OWN_LIMIT
from tests.rollouts import RULES, at, line

ONE = at(Phase.PROGRESSING)


# --- what counts ------------------------------------------------------------------------


def test_an_answer_counts_with_its_time() -> None:
    slow_client = line("base", seconds=9.0, upstream_seconds="1.500")
    assert seen_in(slow_client) == Seen("base", False, 1.5)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_answers_from_500_on_are_errors_and_no_fast_answers(status: int) -> None:
    assert seen_in(line("base", status=status)) == Seen("base", True)


@pytest.mark.parametrize("status", [400, 401, 413, 422, 499])
def test_what_a_client_did_is_held_against_nobody(status: int) -> None:
    assert seen_in(line("base", status=status)) is None


def test_the_rate_limit_of_the_gateway_does_not_count_but_a_deployment_without_room_does() -> None:
    assert seen_in(line("base", status=429, upstream_status="")) is None
    assert seen_in(line("base", status=429, upstream_status="429")) == Seen("base", True)


@pytest.mark.parametrize("status", [504, 429])
def test_a_client_that_has_too_little_time_decides_nothing(status: int) -> None:
    own = line("base", status=status, upstream_status=str(status), timing=OWN_LIMIT)
    assert seen_in(own) is None


def test_a_retry_that_helped_is_no_error() -> None:
    helped = line("base", upstream_status="502, 200", upstream_seconds="0.100, 0.200")
    assert seen_in(helped) == Seen("base", False, pytest.approx(0.3))
    never_sent = line("base", upstream_status="502, 200", upstream_seconds="-, 0.200")
    assert seen_in(never_sent) == Seen("base", False, 0.2)


def test_an_answer_that_was_kept_from_before_says_nothing_of_the_models_speed() -> None:
    assert seen_in(line("base", cache="hit")) == Seen("base", False, None)


@pytest.mark.parametrize(
    "values",
    [
        {"path": "/models/base/summarize/"},
        {"path": "/"},
        {"endpoint": ""},
        {"method": "GET"},
        {"route": "header"},
        {"route": "flag"},
        {"route": "model"},
        {"deployment": ""},
        {"upstream_seconds": "soon"},
    ],
)
def test_only_who_came_by_the_split_is_counted(values: dict[str, Any]) -> None:
    assert seen_in(line(**{"deployment": "base", **values})) is None


@pytest.mark.parametrize("path", ["/summarize", "//summarize/", "/%73ummarize/", "/./summarize/"])
def test_what_the_gateway_took_it_for_counts_and_not_how_a_client_spelled_it(path: str) -> None:
    assert seen_in(line("base", path=path, endpoint="/summarize/")) == Seen("base", False, 0.2)


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"deployment":"base"}'])
def test_lines_that_are_something_else_are_passed_over(text: str) -> None:
    assert seen_in(text) is None


# --- how it is paired -----------------------------------------------------------------------


def feed(evidence: Evidence, *answers: tuple[str, bool], alone: bool = False) -> None:
    names = {"c": "tuned-2", "s": "base"}
    for who, error in answers:
        seen = Seen(names[who], error, None if error else 0.2)
        evidence.add(seen, alone=alone, ratio=1.5)


def test_an_answer_is_paired_with_those_of_the_other_one_since_the_last_pair() -> None:
    evidence = Evidence.of(ONE)
    feed(evidence, ("s", False), ("s", False))
    assert evidence.errors.worse.n == 0
    feed(evidence, ("c", False), ("c", False))
    assert evidence.errors.worse.n == 1, "the second one waits for an answer of the stable one"
    feed(evidence, ("s", False))
    assert evidence.errors.worse.n == 2


def test_answers_of_other_deployments_are_nobodys() -> None:
    evidence = Evidence.of(ONE)
    evidence.add(Seen("third", True), alone=False, ratio=1.5)
    assert evidence == Evidence.of(ONE)


def test_latency_counts_once_the_stable_one_has_a_p95_and_then_by_answers_before() -> None:
    evidence = Evidence.of(ONE)
    for _ in range(FEWEST):
        feed(evidence, ("s", False))
    assert evidence.base.total.timed == 0 and evidence.limit(1.5) == pytest.approx(0.3)
    evidence.add(Seen("base", False, 9.0), alone=False, ratio=1.5)
    assert (evidence.base.total.timed, evidence.base.total.slow) == (1, 1)
    evidence.add(Seen("tuned-2", False, 0.31), alone=False, ratio=1.5)
    assert (evidence.tested.total.timed, evidence.tested.total.slow) == (1, 1)


def test_what_is_fast_for_everybody_is_never_slow() -> None:
    evidence = Evidence.of(ONE)
    for _ in range(FEWEST):
        evidence.add(Seen("base", False, 0.001), alone=False, ratio=1.5)
    assert evidence.limit(1.5) == 0.05


def test_at_full_traffic_the_candidate_is_held_against_what_was_before() -> None:
    evidence = Evidence.of(ONE)
    feed(evidence, *[("s", False)] * 50)
    feed(evidence, *[("c", True)] * 30, alone=True)
    verdict = judge(at(Phase.PROGRESSING, percent=100.0, step=4), evidence, None)
    assert verdict.outcome is Outcome.FAIL
    assert "100.0 % of 30 against 0.0 % of the last 50 before" in verdict.reason


def test_without_anything_from_before_full_traffic_proves_nothing() -> None:
    evidence = Evidence.of(ONE)
    feed(evidence, *[("c", False)] * 500, alone=True)
    assert judge(ONE, evidence, None).outcome is Outcome.INCONCLUSIVE


def test_a_new_step_asks_anew_for_what_speaks_for_it_and_forgets_nothing_else() -> None:
    evidence = Evidence.of(ONE)
    evidence.begin(1)
    feed(evidence, *[("s", False), ("c", True)] * 5)
    against, counted = evidence.errors.worse.value, evidence.tested.total.errors
    evidence.begin(2)
    assert (evidence.errors.worse.value, evidence.tested.total.errors) == (against, counted)
    assert evidence.errors.as_good.value == 1 and evidence.tested.step.requests == 0
    evidence.begin(2)
    feed(evidence, ("s", False), ("c", False))
    evidence.begin(2)
    assert evidence.tested.step.requests == 1, "the same step goes on"


def test_evidence_survives_being_written_down() -> None:
    evidence = Evidence.of(ONE)
    evidence.begin(2)
    feed(evidence, *[("s", False), ("c", True), ("s", False)] * 30)
    evidence.texts.finding = Finding("text", Outcome.PASS, "text: fine", {"n": 10.0}, False)
    evidence.texts.rows = [({"empty": 0.0}, {"empty": None})]
    assert Evidence.parse(evidence.dump()) == evidence


# --- what it comes to -----------------------------------------------------------------------


def verdict_after(
    candidate: float, *, n: int, one: Rollout = ONE, text: Finding | None = None
) -> Verdict:
    """After n answers of each, of which so large a share of the candidate's are errors."""
    evidence, due = Evidence.of(one), 0.0
    evidence.begin(one.step)
    for _ in range(n):
        due += candidate
        feed(evidence, ("s", False), ("c", due >= 1))
        due %= 1
    return judge(one, evidence, text)


def test_a_verdict_says_how_it_came_about_with_numbers() -> None:
    failed = verdict_after(0.12, n=200)
    assert failed.outcome is Outcome.FAIL
    assert failed.findings[0].reason == (
        "errors: 12.0 % of 200 against 0.0 % of 200, more than 5 points above: wealth 215 > 40"
    )


def test_no_worse_passes() -> None:
    passed = verdict_after(0.0, n=80)
    assert (passed.outcome, passed.samples) == (Outcome.PASS, 80)
    assert passed.findings[0].reason == (
        "errors: 0.0 % of 80 against 0.0 % of 80, less than 5 points above: wealth 13 > 4.5"
    )
    assert "slower than 0.30 s" in passed.findings[1].reason


def test_something_in_between_is_not_decided() -> None:
    open_ = verdict_after(0.05, n=80)
    assert open_.outcome is Outcome.INCONCLUSIVE and open_.waiting
    assert "not decided: wealth" in open_.reason


def test_few_answers_decide_nothing_however_good_they_are() -> None:
    few = verdict_after(0.0, n=80, one=replace(ONE, rules=replace(RULES, min_samples=100)))
    assert few.outcome is Outcome.INCONCLUSIVE and "fewer than 100 answers" in few.reason


def test_no_answer_at_all_is_said_so() -> None:
    none = verdict_after(0.0, n=0)
    assert none.outcome is Outcome.NONE
    assert none.reason == "no answer of tuned-2 in this step, and no traffic never promotes"


def test_before_the_first_answer_no_share_of_nothing_is_told() -> None:
    none = verdict_after(0.0, n=0)
    assert [one.reason for one in none.findings] == [
        "errors: no answer yet, 20 are needed", "latency: no answer yet, 20 are needed",
    ]  # fmt: skip


def test_the_text_has_a_say() -> None:
    bad = Finding("text", Outcome.FAIL, "text: worse", waiting=False)
    assert verdict_after(0.0, n=80, text=bad).reason == "text: worse"
    unsure = replace(bad, outcome=Outcome.INCONCLUSIVE)
    found = verdict_after(0.0, n=80, text=unsure)
    assert found.outcome is Outcome.INCONCLUSIVE and not found.waiting


def test_probes_count_and_are_told_apart() -> None:
    evidence = Evidence.of(ONE)
    evidence.begin(2)
    for _ in range(100):
        evidence.add_probe(Seen("tuned-2", False, 0.2), Seen("base", False, 0.2), ratio=1.5)
    feed(evidence, ("s", False), ("c", False))
    verdict = judge(ONE, evidence, None)
    assert verdict.outcome is Outcome.PASS
    assert "0.0 % of 101 (100 of them probes) against 0.0 % of 101" in verdict.reason
    assert evidence.tested.total.requests == 1 and evidence.tested.total.probes == 100


def test_slow_probes_are_held_against_probes() -> None:
    evidence = Evidence.of(ONE)
    for _ in range(60):
        evidence.add_probe(Seen("tuned-2", False, 0.5), Seen("base", False, 0.2), ratio=1.5)
    found = judge(ONE, evidence, None)
    assert found.outcome is Outcome.FAIL
    assert found.reason.startswith("latency: 100.0 % of 40 slower than 0.30 s against 0.0 % of 40")


def test_a_and_b_are_told_apart_and_neither_fails() -> None:
    ab, chance = at(Phase.PROGRESSING, Kind.AB), random.Random(3)
    evidence = Evidence.of(ab)
    for _ in range(400):
        feed(evidence, ("s", False), ("c", chance.random() < 0.2))
    found = judge(ab, evidence, None)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.findings[0].reason.startswith("errors: base 0.0 % of 400, tuned-2 18.8 % of 400")
    assert "they differ (p = " in found.findings[0].reason
    assert "no difference is shown (p = 1)" in found.findings[1].reason


def test_the_level_is_split_over_the_metrics() -> None:
    assert fail_levels(RULES) == (0.025, 0.0)
    assert fail_levels(replace(RULES, text_gate="empty<=+0.02")) == (0.0125, 0.025)


def test_two_steps_together_ask_for_the_whole_level_and_one_alone_does_too() -> None:
    assert pass_level(ONE) == pytest.approx(0.05**0.5)
    assert pass_level(at(Phase.PROGRESSING, Kind.BLUEGREEN)) == pytest.approx(0.05)
