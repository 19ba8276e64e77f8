"""`llmlab evaluate`: a model against a suite, beside its baselines, under a gate."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from llmlab.errors import LlmlabError, UpstreamError
from llmlab.evaluate.answer import Answer, Respondent
from llmlab.evaluate.evaluation import evaluate
from llmlab.evaluate.gate import parse_gate
from llmlab.evaluate.measures import METRICS
from llmlab.evaluate.page import page, picture
from llmlab.evaluate.suite import load_suite
from llmlab.evaluate.verdict import Outcome
from tests.conftest import LabUnderTest
from tests.reading import Parsed, asks_for

NEWS = Path(__file__).parent.parent / "configs" / "suites" / "news.jsonl"
TIMED = {name for name, metric in METRICS.items() if metric.column == "latency"}
TOLERANT = "rougeLsum>=-0.01 coverage>=-0.01 unsupported<=+0.00"


def respondent(name: str, answers: Mapping[str, str | LlmlabError]) -> Respondent:
    made = {
        key: one if isinstance(one, LlmlabError) else Answer(one, seconds=0.1)
        for key, one in answers.items()
    }
    return Respondent(name, f"sha256:{name:0<64}", "rule", made)


def references() -> dict[str, str]:
    return {case.id: case.reference or "" for case in load_suite(NEWS).cases}


def test_a_model_that_writes_the_references_is_best() -> None:
    found = evaluate(load_suite(NEWS), respondent("good", references()), seed=1)
    assert found.model.level("rougeLsum").value == 1.0
    assert found.model.level("rougeLsum").n == 41


def test_against_itself_nothing_is_different_and_the_gate_passes() -> None:
    good = respondent("good", references())
    found = evaluate(load_suite(NEWS), good, good, gate=parse_gate(TOLERANT), seed=1)
    assert {one.difference for one in found.comparisons} == {0.0}
    assert found.regressions is not None
    assert found.regressions.found == ()
    assert found.verdict is not None
    assert found.verdict.outcome is Outcome.PASS


def test_a_damaged_model_is_failed_and_its_worst_texts_are_named() -> None:
    good = references()
    damaged = {key: " ".join(reversed(one.split()[:8])) for key, one in good.items()}
    found = evaluate(
        load_suite(NEWS), respondent("bad", damaged), respondent("good", good),
        gate=parse_gate(TOLERANT), seed=1,
    )  # fmt: skip
    assert found.verdict is not None
    assert found.verdict.outcome is Outcome.FAIL
    assert found.regressions is not None
    assert len(found.regressions.found) == 3
    assert all(one.candidate < one.baseline for one in found.regressions.found)


def test_an_answer_that_is_missing_never_passes() -> None:
    answers: dict[str, str | LlmlabError] = dict(references())
    answers[next(iter(answers))] = UpstreamError("503: away")
    found = evaluate(
        load_suite(NEWS), respondent("good", answers), gate=parse_gate("rougeLsum>=0.5"), seed=1
    )
    assert found.verdict is not None
    assert found.verdict.outcome is Outcome.INCONCLUSIVE
    assert len(found.model.failures) == 1


def test_what_a_record_keeps_is_json_without_texts() -> None:
    found = evaluate(load_suite(NEWS), respondent("good", references()), seed=1)
    facts = json.loads(json.dumps(found.facts()))
    assert facts["suite"] == "news"
    assert facts["metrics"]["rougeLsum"]["value"] == 1.0
    assert "texts" not in json.dumps(facts)


# --- the verb --------------------------------------------------------------------


@pytest.fixture(scope="module")
def idle(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    return make_lab()


def judged(lab: LabUnderTest, *arguments: str) -> tuple[int, Any]:
    done = lab.run(
        "evaluate", "-s", "news", "-m", "textrank", "--offline", *arguments, "-o", "json"
    )
    return done.returncode, json.loads(done.stdout or "null")


def untimed(told: Any) -> Any:
    """What must not differ between two runs."""
    for one in (told["model"], told["baseline"], *told["beside"]):
        if one:
            one["metrics"] = {k: v for k, v in one["metrics"].items() if k not in TIMED}
            for text in one["texts"]:
                text["values"].pop("latency")
    # Holm corrects over all metrics, those of time too.
    told["comparisons"] = [
        {key: value for key, value in one.items() if key != "p_holm"}
        for one in told["comparisons"]
        if one["metric"] not in TIMED
    ]
    return told


def test_two_runs_give_the_same_numbers(idle: LabUnderTest) -> None:
    (code, first), (_, second) = (judged(idle, "--baseline", "lead-3") for _ in range(2))
    assert code == 0
    assert untimed(first) == untimed(second)
    assert first["suite"]["n"] == 41
    assert first["model"]["metrics"]["rougeLsum"]["value"] > 0.1


def test_lead_3_and_the_embedded_model_stand_beside(idle: LabUnderTest) -> None:
    done = idle.run("evaluate", "-s", "news", "-m", "lead-3", "--offline", "-o", "json")
    told = json.loads(done.stdout)
    assert [one["name"] for one in told["beside"]] == ["textrank"]
    assert told["beside"][0]["model_id"].startswith("sha256:")


@pytest.mark.parametrize(
    ("gate", "code", "outcome"),
    [
        ("empty<=0.02 coverage>=0.3", 0, "pass"),
        ("coverage>=0.95", 8, "fail"),
        ("coverage>=0.63", 8, "inconclusive"),
    ],
)
def test_the_gate_decides_the_exit_code(
    idle: LabUnderTest, gate: str, code: int, outcome: str
) -> None:
    exit_code, told = judged(idle, "--gate", gate)
    assert (exit_code, told["verdict"]["outcome"]) == (code, outcome)
    assert told["verdict"]["reason"].startswith(outcome)


def test_the_view_for_people_has_scores_differences_and_a_verdict(idle: LabUnderTest) -> None:
    done = idle.run("evaluate", "-s", "news", "-m", "textrank", "-b", "lead-3", "--offline",
                    "--gate", "coverage>=-0.05")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "news, 41 texts" in done.stdout
    assert "textrank against lead-3" in done.stdout
    assert "worst by coverage" in done.stdout
    assert "✓ pass" in done.stdout.splitlines()[1], "what was decided comes first"
    assert "proxies" in done.stdout


def test_the_report_says_the_verdict_first_and_needs_nothing(
    idle: LabUnderTest, tmp_path: Path
) -> None:
    file = tmp_path / "evaluation.html"
    done = idle.run("evaluate", "-s", "news", "-m", "textrank", "-b", "lead-3", "--offline",
                    "--gate", "coverage>=0.95", "--report", str(file))  # fmt: skip
    assert done.returncode == 8, "a gate that is not passed is written down all the same"
    parsed = Parsed(file.read_text())
    assert parsed.words.index("✗ fail") < parsed.words.index("Scores")
    assert asks_for(parsed) == [] and parsed.named("script") == []
    assert idle.run("evaluate", "-s", "news", "-m", "textrank", "--report", "no/r.html",
                    "--offline").returncode == 2  # fmt: skip


def test_what_a_model_wrote_is_text_in_the_report_and_nothing_else() -> None:
    evil = '<script>alert("x")</script>'
    answers = {key: f"{evil} {one}" for key, one in references().items()}
    found = evaluate(
        load_suite(NEWS), respondent(evil, answers), respondent("good", references()),
        gate=parse_gate("length<=1x"), seed=1,
    )  # fmt: skip
    parsed = Parsed(page(found))
    assert parsed.named("script") == [] and evil in parsed.words


@pytest.mark.parametrize(
    ("gate", "inside"), [("coverage>=0.1", True), ("coverage>=0.99", False), ("empty<=0.5", True)]
)
def test_the_picture_of_a_condition_has_its_interval_where_the_verdict_has_it(
    gate: str, inside: bool
) -> None:
    half = {key: one[: len(one) // 2] for key, one in references().items()}
    found = evaluate(load_suite(NEWS), respondent("half", half), gate=parse_gate(gate), seed=1)
    assert found.verdict
    drawn = picture(found.verdict.findings[0])
    assert drawn and drawn.low <= drawn.estimate <= drawn.high
    assert (drawn.good[0] <= drawn.low and drawn.high <= drawn.good[1]) is inside


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("-s", "nwes"), "did you mean 'news'?"),
        (("-s", "news", "--gate", "coverage>=+0.05"), "compares with a baseline"),
        (("-s", "news", "--gate", "covrage>=0.5"), "did you mean 'coverage'?"),
        (("-s", "news", "--gate", ""), "the gate is empty"),
    ],
)
def test_what_is_wrong_is_told_before_a_model_is_asked(
    idle: LabUnderTest, arguments: tuple[str, ...], why: str
) -> None:
    done = idle.run("evaluate", "-m", "textrank", "--offline", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr


def test_through_the_gateway_of_a_running_lab(lab: LabUnderTest) -> None:
    told = lab.json("evaluate", "-s", "founding", "-m", "textrank", "-b", "lead-3")
    assert told["model"]["failed"] == {}
    assert told["suite"]["name"] == "founding"
    by_name = {one["metric"]: one for one in told["comparisons"]}
    assert by_name["coverage"]["difference"] > 0
