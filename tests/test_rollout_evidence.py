"""What the gateway's log says of a candidate, and the verdict in words."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from llmlab.rollout.betting import STRANGER
from llmlab.rollout.evidence import AGAIN, SLICE, Evidence
from llmlab.rollout.judging import fail_levels, judge, pass_level
from llmlab.rollout.seen import Seen, seen_in
from llmlab.rollout.speed import FEWEST
from llmlab.rollout.state import Finding, Kind, Outcome, Phase, Rollout, Verdict
from llmlab.service.schemas import OWN_LIMIT
from tests.rollouts import RULES, at, line

ASKED = {"subject": "ada", "at": 1000.0}  # as tests.rollouts.line has it

ONE = at(Phase.PROGRESSING)


# --- what counts ------------------------------------------------------------------------


def test_an_answer_counts_with_its_time() -> None:
    slow_client = line("base", seconds=9.0, upstream_seconds="1.500")
    assert seen_in(slow_client) == Seen("base", False, 1.5, **ASKED)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_answers_from_500_on_are_errors_and_no_fast_answers(status: int) -> None:
    assert seen_in(line("base", status=status)) == Seen("base", True, **ASKED)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_the_api_refused_is_no_answer_and_no_error(status: int) -> None:
    seen = seen_in(line("base", status=status, upstream_status=str(status)))
    assert seen == Seen("base", False, refused=True, **ASKED)


@pytest.mark.parametrize("status", [400, 401, 413, 422])
def test_what_the_gateway_refused_is_nobodys(status: int) -> None:
    assert seen_in(line("base", status=status, upstream_status="")) is None


def test_the_rate_limit_of_the_gateway_does_not_count_but_a_deployment_without_room_does() -> None:
    assert seen_in(line("base", status=429, upstream_status="")) is None
    assert seen_in(line("base", status=429, upstream_status="429")) == Seen("base", True, **ASKED)


@pytest.mark.parametrize("status", [504, 429])
def test_a_client_that_gave_too_little_time_has_waited_and_met_no_error(status: int) -> None:
    own = line("base", status=status, upstream_status=str(status), timing=OWN_LIMIT)
    assert seen_in(own) == Seen("base", False, 0.2, gave_up=True, **ASKED)
    assert seen_in(line("base", status=499)) == Seen("base", False, 0.2, gave_up=True, **ASKED)


def test_a_stream_that_the_model_broke_off_is_an_error_though_its_head_said_200() -> None:
    assert seen_in(line("base", broken=1)) == Seen("base", True, **ASKED)
    assert seen_in(line("base", broken=0)) == Seen("base", False, 0.2, **ASKED)
    assert seen_in(line("base", broken=2)) == Seen("base", False, 0.2, gave_up=True, **ASKED)


@pytest.mark.parametrize(
    ("tries", "answers", "errors"),
    [
        ([(0, 500), (1, 500), (2, 200)], 1, 1),
        ([(1, 500), (2, 200)], 1, 1),  # the gateway had refused the first one
        ([(1, 200)], 1, 0),
        ([(0, 200), (1, 200)], 2, 0),  # a client that says so of everything hides nothing
        ([(0, 500), (0, 500)], 2, 2),  # two requests
    ],
)
def test_what_a_client_s_library_sends_again_by_itself_counts_once(
    tries: list[tuple[int, int]], answers: int, errors: int
) -> None:
    evidence = Evidence.of(ONE)
    for number, (retry, status) in enumerate(tries):
        seen = seen_in(line("base", retry=retry, status=status, at=1000.0 + number))
        assert seen
        evidence.add(seen)
    total = evidence.base.total
    assert (total.answers, total.errors) == (answers, errors)


def test_long_after_a_failure_it_counts_again() -> None:
    evidence = Evidence.of(ONE)
    for at_, retry in ((1000.0, 0), (1000.0 + AGAIN + 10, 1)):
        seen = seen_in(line("base", retry=retry, status=500, at=at_))
        assert seen
        evidence.add(seen)
    assert evidence.base.total.errors == 2
    evidence.until(2000.0)
    assert len(evidence.failed) == 1


def test_how_long_it_waited_for_its_turn_is_no_matter_of_the_model() -> None:
    seen = seen_in(line("base", timing="queue;dur=150.0"))
    assert seen == Seen("base", False, pytest.approx(0.05), **ASKED)


def test_a_retry_that_helped_is_no_error() -> None:
    helped = line("base", upstream_status="502, 200", upstream_seconds="0.100, 0.200")
    assert seen_in(helped) == Seen("base", False, pytest.approx(0.3), **ASKED)
    never_sent = line("base", upstream_status="502, 200", upstream_seconds="-, 0.200")
    assert seen_in(never_sent) == Seen("base", False, 0.2, **ASKED)


def test_an_answer_that_was_kept_from_before_says_nothing_of_the_models_speed() -> None:
    assert seen_in(line("base", cache="hit")) == Seen("base", False, None, **ASKED)


@pytest.mark.parametrize(
    "values",
    [
        {"path": "/models/base/summarize/"},
        {"path": "/"},
        {"endpoint": ""},
        {"method": "GET"},
        {"rule": "header"},
        {"rule": "flag"},
        {"rule": "model"},
        {"deployment": ""},
        {"upstream_seconds": "soon"},
    ],
)
def test_only_who_came_by_the_split_is_counted(values: dict[str, Any]) -> None:
    assert seen_in(line(**{"deployment": "base", **values})) is None


def test_a_line_of_before_there_were_several_routes_counts_for_summarize() -> None:
    told = json.loads(line("base"))
    del told["rule"]
    for rule in ("split", "stable"):
        assert seen_in(json.dumps(told | {"route": rule})) == seen_in(line("base", rule=rule))
    for rule in ("header", "flag", "model", ""):
        assert seen_in(json.dumps(told | {"route": rule})) is None


def test_an_answer_is_one_of_the_route_that_was_asked_for() -> None:
    endpoint = {"path": "/openai/v1/chat/completions", "endpoint": "/v1/chat/completions"}
    seen = seen_in(line("base", route="chat", **endpoint))
    assert seen == Seen("base", False, 0.2, **ASKED, route="chat")


@pytest.mark.parametrize("path", ["/summarize", "//summarize/", "/%73ummarize/", "/./summarize/"])
def test_what_the_gateway_took_it_for_counts_and_not_how_a_client_spelled_it(path: str) -> None:
    assert seen_in(line("base", path=path, endpoint="/summarize/")) == Seen(
        "base", False, 0.2, **ASKED
    )


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"deployment":"base"}'])
def test_lines_that_are_something_else_are_passed_over(text: str) -> None:
    assert seen_in(text) is None


# --- units, and how they are paired ----------------------------------------------------------

WHO, WHEN = count(), count(1000, int(SLICE))
NAMES = {"c": "tuned-2", "s": "base"}


def feed(
    evidence: Evidence, *answers: tuple[str, bool], subject: str = "", seconds: float = 0.2
) -> None:
    """Answers within one slice, each to somebody else unless there is a subject. The slice is
    over."""
    now = float(next(WHEN))
    for who, error in answers:
        told = None if error else seconds
        evidence.add(Seen(NAMES[who], error, told, False, subject or f"n{next(WHO)}", now))
    evidence.until(now + SLICE)


def known(evidence: Evidence, errors: int = 0, **seconds: float) -> None:
    """Subjects that the base has answered a hundred times each, with so many errors."""
    for number in range(100):
        failed = number < errors
        for subject, took in seconds.items():
            seen = Seen("base", failed, None if failed else took, False, subject, 0.0)
            evidence.learn(seen)


def test_units_of_about_the_same_time_make_as_many_groups_as_the_fewer_of_them() -> None:
    evidence = Evidence.of(ONE)
    feed(evidence, ("s", False), ("s", False))
    assert evidence.errors.worse.n == 0
    feed(evidence, ("c", False), ("c", False), ("c", False))
    assert evidence.errors.worse.n == 2, "two of the base waited for them"
    feed(evidence, ("s", False))
    assert evidence.errors.worse.n == 2
    feed(evidence, ("c", False))
    assert evidence.errors.worse.n == 3


def test_many_answers_to_one_subject_at_a_time_are_one_unit() -> None:
    evidence = Evidence.of(ONE)
    now = float(next(WHEN))
    for number in range(50):
        evidence.add(Seen("base", False, 0.2, False, f"n{next(WHO)}", now))
        evidence.add(Seen("tuned-2", number % 2 == 0, 0.2, False, "eve", now))
    evidence.until(now + SLICE)
    assert evidence.errors.worse.n == 1
    assert evidence.tested.total.requests == 50, "what is shown counts answers"


def test_a_slice_is_over_with_the_first_answer_of_the_next_one() -> None:
    evidence = Evidence.of(ONE)
    now = float(next(WHEN))
    for at_, who in ((0.0, "base"), (0.5, "tuned-2"), (SLICE, "base")):
        evidence.add(Seen(who, False, 0.2, False, who, now + at_))
    assert evidence.errors.worse.n == 1


def test_answers_of_other_deployments_are_nobodys() -> None:
    evidence = Evidence.of(ONE)
    evidence.add(Seen("third", True))
    assert evidence == Evidence.of(ONE)


def test_who_the_base_never_answered_speaks_against_a_candidate_a_few_times_only() -> None:
    evidence = Evidence.of(ONE)
    for _ in range(50):
        feed(evidence, ("s", False))
        feed(evidence, ("c", True), subject="eve")
    assert evidence.errors.worse.n == STRANGER
    assert evidence.errors.as_good.n == 50, "for it, all of them would speak"
    assert judge(ONE, evidence, None).outcome is Outcome.INCONCLUSIVE


def test_many_who_the_base_never_answered_speak_as_often_as_they_ask() -> None:
    evidence = Evidence.of(ONE)
    for number in range(400):
        feed(evidence, ("s", False))
        feed(evidence, ("c", number % 20 == 0), subject=f"somebody-{number % 40}")
    assert evidence.errors.worse.n == 400


def test_who_had_no_errors_before_speaks_against_it_each_time() -> None:
    evidence = Evidence.of(ONE)
    known(evidence, eve=0.2)
    for _ in range(20):
        feed(evidence, ("s", False))
        feed(evidence, ("c", True), subject="eve")
    assert judge(ONE, evidence, None).outcome is Outcome.FAIL


def test_errors_that_a_subject_has_on_either_side_are_no_difference() -> None:
    evidence, chance = Evidence.of(ONE), random.Random(1)
    known(evidence, errors=20, eve=0.2)
    for _ in range(500):
        feed(evidence, ("s", False))
        feed(evidence, ("c", chance.random() < 0.2), subject="eve")
    assert evidence.errors.worse.value < 1
    found = judge(ONE, evidence, None)
    assert found.findings[0].outcome is not Outcome.FAIL
    assert "1 subject, 1 of them bring 100 %" in found.findings[0].reason


def test_a_few_subjects_that_get_nothing_but_errors_are_seen_among_many() -> None:
    evidence = Evidence.of(ONE)
    known(evidence, eve=0.2)
    evidence.begin(2, 25.0)
    for number in range(400):
        feed(evidence, ("s", False), ("c", False), ("c", False), ("s", False))
        if number % 100 == 0:
            feed(evidence, ("s", False), ("c", True), subject="eve")
    found = judge(ONE, evidence, None)
    assert found.outcome is Outcome.INCONCLUSIVE and found.above
    assert "but 1 subject got errors which they did not get before: 4 of 4" in found.reason


def test_who_fails_most_of_the_time_on_either_side_holds_nobody_up() -> None:
    evidence = Evidence.of(ONE)
    known(evidence, errors=90, bob=0.2)
    for _ in range(5):
        feed(evidence, ("c", True), subject="bob")
        feed(evidence, ("c", True), subject="a stranger, of whom there may be others like bob")
    assert not evidence.broken_for


def test_somebody_whose_texts_take_long_takes_long_on_either_side() -> None:
    evidence = Evidence.of(ONE)
    known(evidence, ada=0.2, eve=2.0)
    for _ in range(60):
        feed(evidence, ("s", False), subject="ada", seconds=0.2)
        feed(evidence, ("c", False), subject="eve", seconds=2.0)
    assert all(bets.worse.value < 1 for bets in evidence.speed)
    for _ in range(60):
        feed(evidence, ("s", False), subject="ada", seconds=0.2)
        feed(evidence, ("c", False), subject="eve", seconds=4.0)
    assert "latency p50" in judge(ONE, evidence, None).reason
    assert judge(ONE, evidence, None).outcome is Outcome.FAIL


def test_latency_counts_once_the_base_has_a_quantile_and_then_by_answers_before() -> None:
    evidence = Evidence.of(ONE)
    for _ in range(FEWEST + 1):
        feed(evidence, ("s", False))
    assert evidence.base.total.timed == 0 and evidence.limit(0) == pytest.approx(0.25)
    assert evidence.limit(1) == pytest.approx(0.30)
    feed(evidence, ("s", False), seconds=9.0)
    assert (evidence.base.total.timed, evidence.base.total.slow) == (1, [1, 1])
    feed(evidence, ("c", False), seconds=0.29)
    assert (evidence.tested.total.timed, evidence.tested.total.slow) == (1, [1, 0])


def test_a_few_milliseconds_are_nothing_but_ten_times_as_many_are_seen() -> None:
    evidence = Evidence.of(ONE)
    for _ in range(FEWEST + 1):
        feed(evidence, ("s", False), seconds=0.004)
    assert evidence.limit(0) == pytest.approx(0.009)
    for _ in range(40):
        feed(evidence, ("s", False), seconds=0.004)
        feed(evidence, ("c", False), seconds=0.040)
    assert judge(ONE, evidence, None).outcome is Outcome.FAIL


def test_who_gave_up_has_met_a_slow_answer_if_it_waited_for_longer_than_that() -> None:
    evidence = Evidence.of(ONE)
    for _ in range(FEWEST + 1):
        feed(evidence, ("s", False))
    for seconds in (0.1, 5.0):
        now = float(next(WHEN))
        evidence.add(Seen("tuned-2", False, seconds, True, "eve", now))
        evidence.until(now + SLICE)
    total = evidence.tested.total
    assert (total.answers, total.timed, total.slow) == (0, 1, [1, 1])


def test_a_candidate_that_lets_clients_wait_until_they_give_up_fails() -> None:
    evidence = Evidence.of(ONE)
    for _ in range(FEWEST + 1):
        feed(evidence, ("s", False))
    for number in range(60):
        now = float(next(WHEN))
        evidence.add(Seen("base", False, 0.2, False, f"n{next(WHO)}", now))
        hangs = number % 3 == 0
        seen = Seen("tuned-2", False, 5.0 if hangs else 0.2, hangs, f"n{next(WHO)}", now)
        evidence.add(seen)
        evidence.until(now + SLICE)
    found = judge(ONE, evidence, None)
    assert found.outcome is Outcome.FAIL and "latency p95: 33.3 % of 60" in found.reason


def test_with_more_load_than_the_base_its_latency_is_not_compared() -> None:
    evidence = Evidence.of(ONE)
    evidence.begin(4, 95.0)
    for _ in range(60):
        feed(evidence, ("s", False))
        feed(evidence, ("c", False), seconds=2.0)
    assert all(bets.worse.n == 0 for bets in evidence.speed)
    found = judge(at(Phase.PROGRESSING, percent=95.0, step=4), evidence, None)
    assert "not judged above 50 %" in found.findings[1].reason
    named = replace(ONE, rules=replace(RULES, latency_gate="p95<=800ms"))
    evidence = Evidence.of(named)
    evidence.begin(4, 95.0)
    for _ in range(FEWEST + 60):
        feed(evidence, ("s", False))
        feed(evidence, ("c", False), seconds=2.0)
    assert judge(named, evidence, None).outcome is Outcome.FAIL, "seconds that a person named are"


def test_a_new_step_asks_anew_for_what_speaks_for_it_and_forgets_nothing_else() -> None:
    evidence = Evidence.of(ONE)
    evidence.begin(1, 5.0)
    for _ in range(5):
        feed(evidence, ("s", False), ("c", True))
    against, counted = evidence.errors.worse.value, evidence.tested.total.errors
    evidence.begin(2, 25.0)
    assert (evidence.errors.worse.value, evidence.tested.total.errors) == (against, counted)
    assert evidence.errors.as_good.value == 1 and evidence.tested.step.requests == 0
    evidence.begin(2, 25.0)
    feed(evidence, ("s", False), ("c", False))
    evidence.begin(2, 25.0)
    assert evidence.tested.step.requests == 1, "the same step goes on"


def test_evidence_survives_being_written_down() -> None:
    evidence = Evidence.of(ONE)
    evidence.begin(2, 25.0)
    for _ in range(30):
        feed(evidence, ("s", False), ("c", True), ("s", False))
    evidence.add(Seen("base", False, 0.2, False, "ada", float(next(WHEN))))
    evidence.texts.finding = Finding("text", Outcome.PASS, "text: fine", {"n": 10.0}, False)
    evidence.texts.rows = [({"empty": 0.0}, {"empty": None})]
    assert Evidence.parse(evidence.dump()) == evidence


def test_what_is_remembered_of_subjects_has_an_end() -> None:
    evidence = Evidence.of(ONE)
    for _ in range(1500):
        feed(evidence, ("s", False), ("c", False))
    assert len(evidence.subjects.own) <= 1000 and len(evidence.strangers) <= 1000
    assert len(evidence.tested.subjects) <= 1000


def test_what_broke_a_moment_ago_is_seen_after_thousands_of_good_answers() -> None:
    evidence = Evidence.of(ONE)
    evidence.begin(4, 95.0)
    for _ in range(500):
        feed(evidence, ("s", False), *[("c", False)] * 10)
    assert not evidence.broke
    for _ in range(15):
        feed(evidence, ("s", False), *[("c", False)] * 8, *[("c", True)] * 2)
    assert evidence.broke == "10.0 % errors within the last minute, against 0.0 %"


# --- what it comes to -----------------------------------------------------------------------


def verdict_after(
    candidate: float, *, n: int, one: Rollout = ONE, text: Finding | None = None
) -> Verdict:
    """After n answers of each, of which so large a share of the candidate's are errors."""
    evidence, due = Evidence.of(one), 0.0
    evidence.begin(one.step, one.percent)
    for _ in range(n):
        due += candidate
        feed(evidence, ("s", False), ("c", due >= 1))
        due %= 1
    return judge(one, evidence, text)


def test_a_verdict_says_how_it_came_about_with_numbers() -> None:
    failed = verdict_after(0.12, n=200)
    assert failed.outcome is Outcome.FAIL
    assert failed.findings[0].reason == (
        "errors: 12.0 % of 200 against 0.0 % of 200, more than 1 point above: evidence 166374 > 50"
    )


def test_no_worse_passes() -> None:
    passed = verdict_after(0.0, n=200)
    assert (passed.outcome, passed.samples) == (Outcome.PASS, 200)
    assert passed.findings[0].reason == (
        "errors: 0.0 % of 200 against 0.0 % of 200, less than 1 point above: evidence 2.8 > 2.1"
    )
    assert "slower than 0.25 s" in passed.findings[1].reason
    assert "slower than 0.30 s" in passed.findings[2].reason


def test_something_in_between_is_not_decided() -> None:
    open_ = verdict_after(0.02, n=100)
    assert open_.outcome is Outcome.INCONCLUSIVE and open_.waiting and open_.above
    assert "not decided: evidence" in open_.reason


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
        f"{name}: no answer yet, 20 are needed" for name in ("errors", "latency p50", "latency p95")
    ]


def test_the_text_has_a_say() -> None:
    bad = Finding("text", Outcome.FAIL, "text: worse", waiting=False)
    assert verdict_after(0.0, n=200, text=bad).reason == "text: worse"
    unsure = replace(bad, outcome=Outcome.INCONCLUSIVE)
    found = verdict_after(0.0, n=200, text=unsure)
    assert found.outcome is Outcome.INCONCLUSIVE and not found.waiting


def test_no_person_is_asked_about_the_text_while_errors_may_still_end_it() -> None:
    unsure = Finding("text", Outcome.INCONCLUSIVE, "text: nobody knows", waiting=False)
    found = verdict_after(0.02, n=100, text=unsure)
    assert [one.outcome for one in found.findings if one.metric == "errors"] == [
        Outcome.INCONCLUSIVE
    ]
    assert found.outcome is Outcome.INCONCLUSIVE and found.waiting


def test_what_either_refused_is_told_beside_the_other_and_decides_nothing() -> None:
    evidence = Evidence.of(ONE)
    feed(evidence, *[("c", False)] * 40, *[("s", False)] * 40)
    before = judge(ONE, evidence, None)
    assert all(one.metric != "refused" for one in before.findings)
    for name, number in (("tuned-2", 10), ("base", 1)):
        for _ in range(number):
            evidence.add(Seen(name, False, None, False, "ada", float(next(WHEN)), refused=True))
    after = judge(ONE, evidence, None)
    (found,) = [one for one in after.findings if one.metric == "refused"]
    assert found.outcome is Outcome.PASS
    assert found.reason.startswith("refused: 20.0 % of 50 against 2.4 % of 41, not judged")
    assert after.outcome is before.outcome and after.samples == before.samples
    assert [one for one in after.findings if one is not found] == list(before.findings)


def test_probes_count_and_are_told_apart() -> None:
    evidence = Evidence.of(ONE)
    evidence.begin(2, 25.0)
    for _ in range(200):
        evidence.add_probe(Seen("tuned-2", False, 0.2), Seen("base", False, 0.2))
    feed(evidence, ("s", False), ("c", False))
    verdict = judge(ONE, evidence, None)
    assert verdict.outcome is Outcome.PASS
    assert "0.0 % of 201 (200 of them probes) against 0.0 % of 201" in verdict.reason
    assert evidence.tested.total.requests == 1 and evidence.tested.total.probes == 200


def test_slow_probes_are_held_against_probes() -> None:
    evidence = Evidence.of(ONE)
    for _ in range(60):
        evidence.add_probe(Seen("tuned-2", False, 0.5), Seen("base", False, 0.2))
    found = judge(ONE, evidence, None)
    assert found.outcome is Outcome.FAIL
    assert "latency p95: 100.0 % of 40 slower than 0.30 s against 0.0 % of 40" in found.reason


def test_a_and_b_are_told_apart_and_neither_fails() -> None:
    ab, chance = at(Phase.PROGRESSING, Kind.AB), random.Random(3)
    evidence = Evidence.of(ab)
    evidence.begin(1, 50.0)
    for _ in range(400):
        feed(evidence, ("s", False), ("c", chance.random() < 0.2))
    found = judge(ab, evidence, None)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.findings[0].reason.startswith("errors: base 0.0 % of 400, tuned-2 18.8 % of 400")
    assert "they differ (p = " in found.findings[0].reason
    assert "no difference is shown (p = 1, to be at most 0.005)" in found.findings[1].reason


def test_a_and_b_are_told_apart_at_each_metrics_level_and_not_at_alpha() -> None:
    """Of many metrics of equal versions one would differ at alpha far too often."""
    ab = at(Phase.PROGRESSING, Kind.AB)
    evidence = Evidence.of(ab)
    evidence.begin(1, 50.0)
    found = []
    while not found or "they differ" not in found[-1].reason:
        evidence.errors.worse.bet(0.2, 1.0)
        found.append(judge(ab, evidence, None).findings[0])
    assert found[-1].figures["p"] <= fail_levels(ab.rules).errors
    assert any(one.figures["p"] <= ab.rules.alpha for one in found[:-1])


def test_the_level_is_split_over_the_metrics() -> None:
    levels = fail_levels(RULES)
    assert (levels.errors, levels.latency, levels.text) == pytest.approx((0.02, 0.01, 0.02))
    assert levels.errors + levels.latency + levels.text == pytest.approx(RULES.alpha)


def test_all_steps_together_ask_for_the_whole_level() -> None:
    assert pass_level(ONE) ** 4 == pytest.approx(0.05)
    assert pass_level(at(Phase.PROGRESSING, Kind.BLUEGREEN)) == pytest.approx(0.05)
