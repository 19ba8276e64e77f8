"""What a rollout asks of how answers come and end: in words, its evidence and its verdict."""

from __future__ import annotations

import random
from dataclasses import fields, replace
from typing import Any

import pytest

from llmlab.answered import Answer
from llmlab.config import Config
from llmlab.config.rollout import Rollout as Section
from llmlab.errors import UsageError
from llmlab.names import SUMMARIZE
from llmlab.rollout.answer_gate import UNSEEN, parse_answer_gate
from llmlab.rollout.evidence import SLICE, Evidence
from llmlab.rollout.judging import fail_levels, judge
from llmlab.rollout.planning import Wish, rules_of
from llmlab.rollout.power import Usual, needs
from llmlab.rollout.seen import Seen, seen_in
from llmlab.rollout.simulating import run_in
from llmlab.rollout.state import Finding, Kind, Outcome, Phase, Rules
from llmlab.rollout.worlds import EQUAL, WORSE
from tests.rollouts import RULES, at, line

SHIPPED = Section().answer_gate
FINE = Answer(0.2, 0.1, 1.0, 20, cut_off=False, refusal="", invalid=False)


def begun(gate: str, **values: Any) -> Evidence:
    rules = replace(RULES, answer_gate=gate, latency_gate="")
    return Evidence.of(at(Phase.PROGRESSING, rules=rules, **values))


def judged(evidence: Evidence, gate: str) -> dict[str, Finding]:
    rules = replace(RULES, answer_gate=gate, latency_gate="")
    verdict = judge(at(Phase.PROGRESSING, rules=rules), evidence, None)
    return {one.metric: one for one in verdict.findings}


def play(
    evidence: Evidence, tested: Answer | None, base: Answer | None, *, slices: int = 60,
    subjects: int = 20, share: float = 1.0,
) -> None:  # fmt: skip
    """Answers of subjects of which half are the candidate's; all of the base's before it.

    Args:
        share: of the candidate's answers that are so; the others are fine.
    """
    chance = random.Random(1)
    for number in range(25):
        for subject in range(subjects):
            evidence.learn(Seen("base", False, 0.2, subject=f"s{subject}", at=number, answer=base))
    evidence.begin(2, 25.0)
    for number in range(slices):
        now = 1000.0 + number * SLICE
        for subject in range(subjects):
            mine = subject % 2 == 0
            answer = base if not mine else tested if chance.random() < share else FINE
            name = "tuned-2" if mine else "base"
            evidence.add(Seen(name, False, 0.2, subject=f"s{subject}", at=now, answer=answer))
    evidence.close()


# --- in words -----------------------------------------------------------------------------


def test_the_shipped_gate_is_one() -> None:
    bounds = {one.name: one for one in parse_answer_gate(SHIPPED)}
    assert list(bounds) == ["first token p95", "gap p95", "cut off", "refusals", "invalid"]
    assert bounds["cut off"].margin == 0.05
    late = bounds["first token p95"].condition
    assert late and late.limit(0.01) == pytest.approx(0.01 + UNSEEN)  # nobody sees less
    assert parse_answer_gate("") == ()


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ("speed<=+0.1", "is nothing that is known of answers"),
        ("cut_off<=0.1", "is nothing that is known of answers"),
        ("cut_off:p95<=2x", "is nothing that is known of answers"),
        ("gap<=+0.1", "is nothing that is known of answers"),
        ("cut_off<=+0", "a share is above 0 and below 1"),
        ("cut_off<=+1", "a share is above 0 and below 1"),
        ("gap:p95<=0.5x", "asks for a faster model"),
        ("cut_off<=+0.1 cut_off<=+0.2", "stands there twice"),
    ],
)
def test_what_is_no_gate_is_refused_in_words(gate: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        parse_answer_gate(gate)
    assert refused.value.fix


@pytest.mark.parametrize(
    ("kind", "route", "judges"),
    [
        (Kind.CANARY, "chat", True),
        (Kind.AB, "chat", True),
        (Kind.BLUEGREEN, "chat", False),  # nobody but the lab asks its candidate
        (Kind.CANARY, SUMMARIZE, False),
    ],
)
def test_only_answers_of_chats_to_clients_are_judged(kind: Kind, route: str, judges: bool) -> None:
    assert rules_of(Config(), Wish(kind, (), route=route)).answer_gate == SHIPPED * judges


def test_the_levels_of_all_metrics_are_alpha_together() -> None:
    for gate in ("", SHIPPED):
        levels = fail_levels(replace(RULES, answer_gate=gate))
        assert sum(getattr(levels, one.name) for one in fields(levels)) == pytest.approx(0.05)
    assert fail_levels(RULES).answers == 0 and fail_levels(RULES).errors == pytest.approx(0.02)


# --- evidence ------------------------------------------------------------------------------


def test_a_line_of_the_log_says_how_its_answer_came_and_ended() -> None:
    seen = seen_in(line("base", answer=str(FINE)))
    assert seen and seen.answer == FINE
    for other in ("", "first:1", 7, None):
        seen = seen_in(line("base", answer=other))
        assert seen and seen.answer is None
    broke = seen_in(line("base", answer=str(FINE), broken=1))
    assert broke and broke.error and broke.answer == FINE
    left = seen_in(line("base", answer=str(FINE), status=499))
    assert left and left.gave_up and left.answer is None


@pytest.mark.parametrize(
    ("metric", "worse"),
    [
        ("first token p95", replace(FINE, first=2.0)),
        ("gap p95", replace(FINE, gap=3.0)),
        ("cut off", replace(FINE, cut_off=True)),
        ("refusals", replace(FINE, refusal="field")),
        ("invalid", replace(FINE, invalid=True)),
    ],
)
def test_each_respect_speaks_for_itself_alone(metric: str, worse: Answer) -> None:
    evidence = begun(SHIPPED)
    play(evidence, worse, FINE, slices=20)
    found = judged(evidence, SHIPPED)
    failed = [name for name, one in found.items() if one.outcome is Outcome.FAIL]
    assert failed == [metric]
    assert found[metric].reason.startswith(f"{metric}: 100.0 % of 200")


def test_an_equal_version_passes_in_all_of_them() -> None:
    evidence = begun(SHIPPED)
    play(evidence, FINE, FINE)
    assert {one.outcome for one in judged(evidence, SHIPPED).values()} == {Outcome.PASS}


def test_what_only_begins_as_a_refusal_counts_where_that_is_asked_for() -> None:
    gate = "refusals<=+0.05 refusals_by_words<=+0.05"
    evidence = begun(gate)
    play(evidence, replace(FINE, refusal="words"), FINE)
    found = judged(evidence, gate)
    assert found["refusals"].outcome is Outcome.PASS
    assert found["refusals by words"].outcome is Outcome.FAIL


def test_who_is_always_cut_off_is_so_by_any_version() -> None:
    """On the candidate's side are those who ask for three words."""
    gate = "cut_off<=+0.05"
    evidence = begun(gate)
    for number in range(25):
        for subject in range(20):
            answer = replace(FINE, cut_off=subject % 2 == 0)
            evidence.learn(
                Seen("base", False, 0.2, subject=f"s{subject}", at=number, answer=answer)
            )
    evidence.begin(2, 25.0)
    for number in range(200):
        for subject in range(20):
            mine = subject % 2 == 0
            answer, name = replace(FINE, cut_off=mine), "tuned-2" if mine else "base"
            now = 1000.0 + number * SLICE
            evidence.add(Seen(name, False, 0.2, subject=f"s{subject}", at=now, answer=answer))
    evidence.close()
    assert judged(evidence, gate)["cut off"].outcome is Outcome.PASS


def test_what_hardly_anybody_asks_for_need_not_be_decided_and_is_said_not_to_be() -> None:
    evidence = begun(SHIPPED)
    whole = Answer(tokens=3, cut_off=False, refusal="")
    play(evidence, whole, whole)
    found = judged(evidence, SHIPPED)
    for name in ("first token p95", "gap p95", "invalid"):
        assert found[name].outcome is Outcome.PASS
        assert "not judged: fewer than 20 % of the answers tell" in found[name].reason
    assert found["cut off"].outcome is Outcome.PASS and "evidence" in found["cut off"].reason


def test_of_a_lab_without_a_past_it_is_not_said_that_nobody_tells() -> None:
    evidence = begun(SHIPPED)
    evidence.begin(2, 25.0)
    for name in ("base", "tuned-2"):
        for number in range(25):
            seen = Seen(name, False, 0.2, subject=f"s{number}", at=1000.0, answer=FINE)
            evidence.add(seen)
    evidence.close()
    found = judged(evidence, SHIPPED)
    for name in ("first token p95", "gap p95"):
        assert found[name].outcome is Outcome.INCONCLUSIVE
        assert found[name].reason == f"{name}: no answer yet, 20 are needed"


def test_a_candidate_that_tells_nothing_of_what_the_stable_version_tells_never_passes() -> None:
    evidence = begun(SHIPPED)
    play(evidence, None, FINE, slices=200)
    found = judged(evidence, SHIPPED)
    assert found["errors"].outcome is Outcome.PASS
    for name in ("first token p95", "gap p95", "cut off", "refusals", "invalid"):
        assert found[name].outcome is Outcome.INCONCLUSIVE, found[name]


def test_two_versions_that_are_compared_differ_in_how_their_answers_end() -> None:
    rollout = at(Phase.PROGRESSING, Kind.AB, rules=replace(RULES, answer_gate=SHIPPED))
    evidence = Evidence.of(rollout)
    play(evidence, replace(FINE, cut_off=True), FINE)
    found = {one.metric: one.reason for one in judge(rollout, evidence, None).findings}
    assert "100.0 % of 600: they differ" in found["cut off"]
    assert "no difference is shown" in found["refusals"]


def test_evidence_of_answers_is_kept_as_the_rest_of_it() -> None:
    evidence = begun(SHIPPED)
    play(evidence, replace(FINE, cut_off=True), FINE, slices=5)
    again = Evidence.parse(evidence.dump())
    assert again == evidence and judged(again, SHIPPED) == judged(evidence, SHIPPED)


def test_how_many_answers_each_test_takes_is_known_from_those_there_were() -> None:
    fine = replace(FINE, invalid=None)
    seen = [
        Seen("base", False, 0.2, at=float(n), answer=replace(fine, cut_off=n % 20 == 0))
        for n in range(500)
    ]
    usual = Usual.of(seen, "base", 500.0)
    rollout = at(Phase.PROGRESSING, rules=replace(RULES, answer_gate=SHIPPED))
    found = {(one.step, one.metric): one.answers for one in needs(rollout, usual)}
    assert found[1, "errors"] > found[1, "cut off"] > found[1, "refusals"]
    assert (1, "first token p95") in found and (4, "first token p95") not in found
    assert not any(metric == "invalid" for _, metric in found)  # nobody asks for a format


# --- in worlds -----------------------------------------------------------------------------

QUICK = Rules(answer_gate=SHIPPED, interval=10.0, progress_deadline=120.0, bake=0.0)


@pytest.mark.parametrize("world", ["two of 20 subjects always cut off", "refusals in bursts"])
def test_equal_versions_are_left_alone_where_answers_differ(world: str) -> None:
    for number in range(3):
        assert not run_in(EQUAL[world], QUICK, 7, number).aborted


@pytest.mark.parametrize(
    ("world", "metric"),
    [
        ("first token x 2", "first token p95"), ("10 % of streams pause for 2 s", "gap p95"),
        ("+15 points cut off", "cut off"), ("+15 points of refusals", "refusals"),
        ("+30 points of invalid JSON", "invalid"),
    ],
)  # fmt: skip
def test_worse_ones_are_not_promoted_and_why_is_said(world: str, metric: str) -> None:
    rules = replace(QUICK, steps=(50.0, 100.0), progress_deadline=400.0)
    run = run_in(WORSE[world], rules, 7, 1)
    assert run.aborted and metric in run.rollout.ending, run.rollout.ending
