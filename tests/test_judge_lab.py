"""A judge in a lab: asked through the gateway, calibrated, and let judge, or not; also in a
rollout."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llmlab.evaluate.suite import load_suite
from llmlab.judging.known import good_answer
from llmlab.judging.question import SCHEMA, task_of
from llmlab.reference.documents import documents
from llmlab.reference.shapes import misfits
from llmlab.rollout.state import Outcome
from llmlab.rollout.store import Kept, Rollouts
from tests.conftest import LabUnderTest, wait_until
from tests.judges import Character, PlayedJudge, always, guessing, perfect, said
from tests.test_rollout_lab import TWIN, last, load, status

KNOWN = documents()
REFEREE = """
[models.referee]
runtime = "openai"
base_url = "{url}"
model = "hello"
price = {{ input = 1.0, output = 4.0 }}
fallback = "textrank"

[[guards]]
kind = "deny"
words = ["project falcon"]

[[guards]]
kind = "pii"
find = ["card"]
action = "redact"
"""
CARD = "4111 1111 1111 1111"
START = ("rollout", "start", "canary", "twin", "--steps", "20,100", "--interval", "1s")
# Half of what clients send by ``load`` is lost, and nothing of the suite.
BREAKS_OFF = ("drill", "worse-text", "--deployment", "twin", "--containing", "read it, and")
WORDS = ["went", "on", "by", "the", "old", "stone", "pier", "far", "as", "any", "could", "see"]
GATE = (
    "unsupported<=+0.02 empty<=+0.02 repetition<=+0.05 length<=+0.10 language<=+0.05 "
    "novelty<=+0.20 judged_worse<=+0.10"
)


@pytest.fixture(scope="module")
def played() -> Iterator[PlayedJudge]:
    with PlayedJudge(always("tie")) as one:
        yield one


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., LabUnderTest], played: PlayedJudge) -> LabUnderTest:
    """One with a judge and an extractive summarizer; it is up."""
    one = make_lab(
        gateway__rate_limit__enabled="false", judge__model='"referee"', judge__pairs="36",
        deploy='["referee", "twin"]',
        rollout__pairs="1", rollout__pairs_gate=f'"{GATE}"', rollout__judge_rate="600",
        rollout__error_margin="0.15", rollout__bake="0", rollout__min_samples="10",
        rollout__progress_deadline="600", rollout__latency_gate='""',
    )  # fmt: skip
    with (one.root / "configs" / "lab.toml").open("a") as config:
        config.write(REFEREE.format(url=played.url) + TWIN)
    suite = load_suite(one.root / "configs" / "suites" / "news.jsonl")
    rows = [{"id": case.id, "answer": good_answer(case)} for case in suite.cases]
    (one.root / "good.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    one.ok("up")
    return one


def say(lab: LabUnderTest, name: str, *others: str) -> str:
    """A file of the good answers, the first of them replaced by others."""
    rows = [json.loads(line) for line in (lab.root / "good.jsonl").read_text().splitlines()]
    for row, answer in zip(rows, others, strict=False):
        row["answer"] = answer
    (lab.root / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return name


@pytest.fixture
def fair(lab: LabUnderTest, played: PlayedJudge) -> LabUnderTest:
    """The same, with a judge that is perfect."""
    cases = load_suite(lab.root / "configs" / "suites" / "news.jsonl").cases
    played.character = perfect({task_of(case): good_answer(case) for case in cases})
    return lab


@pytest.fixture
def calibrated(fair: LabUnderTest) -> LabUnderTest:
    """The same, and it may judge."""
    if not told(fair, "judge show")["valid"]:
        told(fair, "judge calibrate")
    return fair


def told(lab: LabUnderTest, verb: str, *arguments: str, code: int = 0) -> Any:
    """Its document, held against its type."""
    done = lab.run(*verb.split(), *arguments, "-o", "json")
    assert done.returncode == code, done.stderr
    document = json.loads(done.stdout)
    assert misfits(document, KNOWN[verb], verb) == []
    return document


def refused(lab: LabUnderTest, *arguments: str, code: int) -> str:
    done = lab.run(*arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Fix: " in done.stderr
    return " ".join(done.stderr.split())


def test_a_judge_that_was_not_calibrated_judges_nobody(lab: LabUnderTest) -> None:
    (lab.lab.state / "judge.json").unlink(missing_ok=True)
    for verb in (
        ("judge", "compare", "textrank", "good.jsonl"),
        ("evaluate", "-s", "news", "-m", "textrank", "-b", "lead-3", "--judge"),
        START,
    ):
        why = refused(lab, *verb, code=8)
        assert "referee may not judge: it was not calibrated Fix: llmlab judge calibrate" in why
    assert last(lab) is None
    shown = told(lab, "judge show")
    assert (shown["valid"], shown["calibration"]) == (False, None)


def test_a_random_judge_and_one_with_a_bias_are_refused(
    lab: LabUnderTest, played: PlayedJudge
) -> None:
    for character, why in ((guessing(3), "it is noisy"), (always("first"), "it goes by the place")):
        played.character = character
        found = told(lab, "judge calibrate", code=8)
        assert not found["valid"]
        assert any(why in one for one in found["problems"])
        assert why in refused(lab, "judge", "compare", "textrank", "good.jsonl", code=8)
    assert found["figures"]["position_bias"]["value"] == 1.0


def test_a_judge_that_is_right_may_judge_until_what_it_judges_by_changes(
    fair: LabUnderTest, played: PlayedJudge
) -> None:
    found = told(fair, "judge calibrate")
    figures = found["figures"]
    assert (found["valid"], found["held"], found["missed"]) == (True, True, [])
    assert figures["agreement"]["hits"] == figures["agreement"]["n"] == 36
    assert (figures["noise"]["n"], figures["position_bias"]["first"]) == (18, 0)
    asked = played.chats[-1].body
    assert (asked["temperature"], asked["seed"], asked["max_tokens"]) == (0, 1, 256)
    assert asked["response_format"]["json_schema"]["schema"] == SCHEMA
    assert "1. Truth." in asked["messages"][0]["content"]  # of the rubric that ships
    cost = found["cost"]
    assert cost["requests"] == 90 and cost["seconds"] > 0
    assert cost["money"] == pytest.approx((cost["tokens_in"] + 4 * cost["tokens_out"]) / 1e6)
    kept = fair.lab.state / "judge.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "✓ may judge referee (elsewhere:" in fair.ok("judge", "show")

    compared = told(fair, "judge compare", "good.jsonl", "textrank", "--at-least", "0.8")
    preference = compared["preference"]
    assert (preference["wins"], preference["losses"], preference["n"]) == (41, 0, 41)
    assert compared["passed"] and compared["why"].startswith("good.jsonl is preferred to textrank")
    # The same the other way around, which does not reach a share.
    other = fair.run("judge", "compare", "textrank", "good.jsonl", "--at-least", "0.4")
    assert other.returncode == 8 and "✗ fail win rate >= 0.4" in other.stdout
    assert "good.jsonl is preferred to textrank, which has a win rate of 0.00" in other.stdout
    assert other.stdout.count("good.jsonl is better") == 3
    assert "the other one is damaged" in other.stdout

    answers = fair.root / "good.jsonl"
    (fair.root / "some.jsonl").write_text("".join(answers.read_text().splitlines(True)[:36]))
    some = told(fair, "judge compare", "good.jsonl", "some.jsonl", "--at-least", "0.1", code=8)
    assert (some["preference"]["ties"], len(some["missing"])) == (36, 5)
    assert some["why"].endswith("of 5 more cases one answer is missing, and so nothing is passed")
    assert some["cost"]["requests"] == 0  # they are the same

    judged = told(fair, "evaluate", "-s", "news", "-m", "textrank", "-b", "lead-3", "--judge")
    assert judged["preference"]["preference"]["n"] == 41  # the judge knows neither of them
    assert judged["preference"]["preference"]["rate"] == 0.5
    assert (judged["preference"]["a"], judged["preference"]["b"]) == ("textrank", "lead-3")
    why = refused(fair, "evaluate", "-s", "news", "-m", "textrank", "--judge", code=2)
    assert "a judge compares, and no baseline is named" in why

    suite = fair.root / "configs" / "suites" / "news.jsonl"
    rubric, before = fair.root / "configs" / "rubric.md", suite.read_text()
    for file, why in ((suite, "the suite news is another one"),
                      (rubric, "the rubric is another one")):  # fmt: skip
        file.write_text(file.read_text() + "\n")
        if file == rubric:
            file.write_text(file.read_text() + "5. Rhymes.\n")
        assert told(fair, "judge show")["problems"][0].endswith(f"is outdated: {why}")
        suite.write_text(before)
    rubric.write_text(rubric.read_text().removesuffix("5. Rhymes.\n"))
    assert told(fair, "judge show")["valid"]


def test_a_judge_that_takes_no_schema_is_asked_in_words(
    fair: LabUnderTest, played: PlayedJudge
) -> None:
    played.plain = True
    try:
        found = told(fair, "judge calibrate")
        asked = len(played.chats)
        compared = told(fair, "judge compare", "good.jsonl", say(fair, "one.jsonl", "Nothing."))
    finally:
        played.plain = False
    assert (found["valid"], found["held"], found["cost"]["requests"]) == (True, False, 90)
    # By then that is known, and nobody is asked for a form in vain.
    assert compared["preference"]["wins"] == 1
    assert ["response_format" in one.body for one in played.chats[asked:]] == [False, False]


def test_a_pair_that_a_guard_refuses_or_changes_is_told_and_the_others_are_judged(
    calibrated: LabUnderTest,
) -> None:
    secret = "It is Project Falcon."
    other = say(calibrated, "guarded.jsonl", secret, f"Charge {CARD}.", "Nothing.")
    found = told(calibrated, "judge compare", "good.jsonl", other)
    preference = found["preference"]
    counts = [preference[one] for one in ("wins", "ties", "losses", "abstentions", "refused")]
    assert counts == [1, 38, 0, 2, 2]
    assert "and 2 abstentions in 41 pairs, of which 2 were refused" in found["why"]
    blocked, changed = found["pairs"][:2]
    assert (blocked["choice"], changed["choice"]) == ("refused", "refused")
    assert "The guard 'deny'" in blocked["why"] and "has redacted" in changed["why"]
    assert found["cost"]["requests"] == 3  # one was answered before it was known to be changed

    many = say(calibrated, "guarded.jsonl", *[secret] * 5)
    why = refused(calibrated, "judge", "compare", "good.jsonl", many, code=2)
    assert "5 of 41 pairs were refused so far, and no more than 10% may be" in why


def test_by_what_a_judge_was_calibrated_is_told_where_it_judges_something_else(
    calibrated: LabUnderTest,
) -> None:
    chat = load_suite(calibrated.root / "configs" / "suites" / "chat.jsonl")
    rows = "".join(f"{json.dumps({'id': case.id, 'answer': 'Yes.'})}\n" for case in chat.cases)
    for name in ("yes.jsonl", "oui.jsonl"):
        (calibrated.root / name).write_text(rows)
    shown = calibrated.ok("judge", "compare", "yes.jsonl", "oui.jsonl", "--suite", "chat")
    said = " ".join(shown.split())
    assert "by news. It was not calibrated by chat: whether it can judge such answers" in said
    found = told(calibrated, "judge compare", "good.jsonl", say(calibrated, "same.jsonl"))
    by = found["judge"]
    assert (by["suite"], by["suite_digest"]) == ("news", found["suite"]["digest"])
    assert by["lacks"] == []


def test_while_it_is_away_its_fallback_does_not_judge_in_its_place(
    lab: LabUnderTest, played: PlayedJudge
) -> None:
    played.now = "overloaded"
    try:
        why = refused(lab, "judge", "calibrate", code=5)
    finally:
        played.now = ""
    assert "referee failed (503)" in why


def test_nobody_judges_himself(fair: LabUnderTest) -> None:
    assert "referee is the judge: nobody judges himself" in refused(
        fair, "judge", "compare", "textrank", "referee", code=2
    )
    assert "referee is the judge: nobody judges himself" in refused(
        fair, "rollout", "start", "canary", "referee", code=2
    )


def test_what_cannot_judge_is_refused_before_anybody_is_asked(
    fair: LabUnderTest, played: PlayedJudge
) -> None:
    asked = len(played.asked)
    for model, why in (
        ("nobody", "nobody does not run in this lab"),
        ("summarize", "textrank only summarizes"),
    ):
        done = fair.run("judge", "calibrate", env={"LLMLAB_JUDGE_MODEL": model})
        assert done.returncode == 2 and why in done.stderr
    missing = refused(fair, "judge", "calibrate", "--suite", "nothing", code=2)
    assert "no suite of that name" in missing
    assert len(played.asked) == asked


# --- in a rollout -----------------------------------------------------------------------------


def words(chance: random.Random) -> str:
    return f"and {' '.join(chance.sample(WORDS, 6))}"


def telling(known: Character) -> Character:
    """One who sees that a summary breaks off."""

    def judge(task: str, first: str, second: str) -> str:
        if "read it, and" not in task:
            return known(task, first, second)
        whole = [one.rstrip().endswith(".") for one in (first, second)]
        if whole[0] == whole[1]:
            return said("tie")
        return said("first" if whole[0] else "second", "the other one breaks off")

    return judge


def is_held(kept: Kept) -> bool:
    """Whether its judge says nothing, and its step would be over."""
    over = time.time() > kept.rollout.since + kept.rollout.rules.interval + 1
    return bool(kept.evidence.pairs.judge.silent) and over


def test_who_breaks_off_is_aborted_by_the_judge_alone_and_nothing_passes_while_it_is_away(
    calibrated: LabUnderTest, played: PlayedJudge
) -> None:
    lab, rollouts = calibrated, Rollouts(calibrated.lab)
    played.character, played.now = telling(played.character), "overloaded"
    lab.ok(*BREAKS_OFF)
    with load(lab, clients=3, rate=30, read_it=words) as clients:
        try:
            wait_until(lambda: clients.statuses[200] > 20)
            begun = lab.run(*START)
            assert begun.returncode == 0, begun.stderr
            said_of_cost = " ".join(begun.stderr.split())
            assert "the judge referee is asked" in said_of_cost
            assert "the judge referee is a model elsewhere" in said_of_cost
            wait_until(lambda: is_held(rollouts.get(1)), 60)
            away = rollouts.get(1).rollout
        finally:
            played.now = ""
        code, why = status(lab)
    assert away.verdict and away.verdict.outcome is Outcome.INCONCLUSIVE
    assert (away.step, away.phase) == (1, "progressing")
    assert "the judge does not answer" in away.verdict.reason

    assert code == 8 and "the judge finds 100 % of" in why and "and 0 % better" in why, why
    assert set(clients.statuses) == {200}
    one = rollouts.get(1).rollout
    assert one.verdict
    for found in one.verdict.findings:  # nothing else speaks against it
        failed = found.metric == "pairs judged_worse"
        assert (found.outcome is Outcome.FAIL) is failed, found

    shown = told(lab, "rollout pairs")
    judge, worst = shown["judge"], shown["worst"]
    assert 2 * judge["judged"] <= judge["questions"] and judge["tokens_in"] > 0
    assert judge["unanswered"] > 0 and not judge["silent"]
    assert worst["beyond"] == ["judged_worse"] and worst["judge"] == "the other one breaks off"
    assert "the other one breaks off" in lab.ok("rollout", "pairs")
    held = b"".join(one.read_bytes() for one in lab.lab.state.glob("delivery.db*"))
    log = b"".join(one.read_bytes() for one in lab.lab.state.glob("logs/*controller*"))
    assert held and log
    for text in (b"keeper lit", b"breaks off"):
        assert text not in held and text not in log
