"""Models side by side: what is marked, the page, and the verb with and without a running lab."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlab.client.protocol import Question
from llmlab.compare.comparison import (
    SHOWN,
    Comparison,
    Failure,
    Mark,
    Result,
    compare,
    stretches,
)
from llmlab.compare.page import page
from llmlab.config.schema import TEXTRANK
from llmlab.errors import LlmlabError, UpstreamError
from llmlab.evaluate.answer import Answer, Respondent
from llmlab.evaluate.suite import Case
from llmlab.service.settings import Settings
from tests.conftest import LabUnderTest, wait_until
from tests.reading import Parsed, asks_for

TEXT = (
    "The harbour master of Ravnsby, Ingrid Halvorsen, closed the port on 3 May 2019 because a "
    "storm had torn 14 boats from their moorings. Nobody was hurt."
)
GOOD = "Ingrid Halvorsen closed the port of Ravnsby after a storm."
WRONG = "Ingrid Petersen closed the port of Ravnsby after a flood that took 15 boats."


def model(name: str, **answers: str | LlmlabError) -> Respondent:
    made: Mapping[str, Answer | LlmlabError] = {
        key: one if isinstance(one, LlmlabError) else Answer(one, seconds=0.5)
        for key, one in answers.items()
    }
    return Respondent(name, f"sha256:{name:0<64}", "extractive", made)


def of(*models: Respondent) -> Comparison:
    return compare(cases_of(a=TEXT), models)


def cases_of(**texts: str) -> dict[str, Case]:
    return {name: Case(name, text) for name, text in texts.items()}


def parts(marked: tuple[Any, ...], mark: Mark) -> list[str]:
    return [one.text for one in marked if one.mark is mark]


def test_what_a_summary_says_without_its_source_is_marked() -> None:
    (row,) = of(model("good", a=GOOD), model("wrong", a=WRONG)).rows
    good, wrong = row.results
    assert isinstance(good, Result) and isinstance(wrong, Result)
    assert parts(good.marked, Mark.UNSUPPORTED) == []
    assert parts(wrong.marked, Mark.UNSUPPORTED) == ["Petersen", "15"]
    assert good.measures.values["unsupported"] == 0
    assert wrong.measures.values["unsupported"] == 2


def test_words_of_one_summary_alone_are_marked_in_either() -> None:
    (row,) = of(model("good", a=GOOD), model("wrong", a=WRONG)).rows
    good, wrong = row.results
    assert isinstance(good, Result) and isinstance(wrong, Result)
    assert parts(good.marked, Mark.ALONE) == ["Halvorsen", "storm."]
    assert parts(wrong.marked, Mark.ALONE) == ["flood that took ", " boats."]


def test_two_summaries_with_nothing_in_common_are_not_marked_all_over() -> None:
    (row,) = of(model("a", a=GOOD), model("b", a="Nobody drowned, as far as is known.")).rows
    for one in row.results:
        assert isinstance(one, Result)
        assert parts(one.marked, Mark.ALONE) == []


def test_the_source_shows_what_was_kept_of_it() -> None:
    (row,) = of(model("good", a=GOOD), model("none", a="")).rows
    good, none = row.results
    assert isinstance(good, Result) and isinstance(none, Result)
    assert parts(good.source, Mark.KEPT) == ["Ravnsby", "Ingrid Halvorsen"]
    assert "2019" in parts(good.source, Mark.MISSING)
    assert parts(none.source, Mark.KEPT) == []


def test_a_model_without_an_answer_is_one_failure_and_no_number() -> None:
    lost = UpstreamError("503: it is away", fix="llmlab status")
    comparison = of(model("good", a=GOOD), model("away", a=lost))
    assert [(one.model, one.error) for one in comparison.failures] == [("away", lost)]
    assert isinstance(comparison.rows[0].results[1], Failure)
    assert all(comparison.mean("away", name) is None for name in SHOWN)
    assert comparison.as_json()["texts"][0]["results"][1] == {
        "model": "away", "error": "503: it is away",
    }  # fmt: skip


def test_means_are_over_all_texts() -> None:
    texts = cases_of(a=TEXT, b=TEXT)
    models = [model("one", a="Two words.", b="Now four words here."), model("x", a="A.", b="B.")]
    assert compare(texts, models).mean("one", "length") == 3


@given(
    st.text(max_size=60),
    st.lists(st.tuples(st.integers(0, 70), st.integers(0, 70), st.sampled_from(list(Mark)))),
)
def test_stretches_put_together_are_the_text(text: str, marks: list[tuple[int, int, Mark]]) -> None:
    found = stretches(text, marks)
    assert "".join(one.text for one in found) == text
    assert all(one.text for one in found)
    assert all(one.mark is not two.mark for one, two in pairwise(found))


# --- the page --------------------------------------------------------------------


def test_the_page_needs_nothing_from_anywhere() -> None:
    parsed = Parsed(page(of(model("good", a=GOOD), model("wrong", a=WRONG))))
    assert asks_for(parsed) == []
    assert parsed.named("script") == []
    (policy,) = [one for one in parsed.named("meta") if "http-equiv" in one]
    assert str(policy["content"]).startswith("default-src 'none'")


def test_the_page_has_a_dot_for_each_value() -> None:
    comparison = of(model("good", a=GOOD), model("wrong", a=WRONG))
    parsed = Parsed(page(comparison))
    values = sum(
        len(comparison.values(one.name, name)) for one in comparison.models for name in SHOWN
    )
    assert len(parsed.named("circle")) == values > 0


def test_what_a_model_writes_is_text_on_the_page_and_nothing_else() -> None:
    evil = '<script>alert("x")</script><img src=x onerror=alert(1)>'
    texts = cases_of(**{"<b>name</b>": f"{TEXT} {evil}"})
    models = [model("a", **{"<b>name</b>": evil}), model("b", **{"<b>name</b>": GOOD})]
    parsed = Parsed(page(compare(texts, models)))
    assert parsed.named("script") == parsed.named("img") == []
    assert evil in parsed.words
    assert "<b>name</b>" in parsed.words


def test_the_page_shows_a_failure_in_its_place() -> None:
    lost = UpstreamError("503: it is away")
    assert "503: it is away" in Parsed(page(of(model("a", a=GOOD), model("b", a=lost)))).words


# --- the verb --------------------------------------------------------------------


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    (folder / "storm.txt").write_text(f"{TEXT} {WRONG}")
    (folder / "calm.txt").write_text("The sea was calm. Nobody went out. The day was long indeed.")
    return folder


def test_a_running_labs_model_beside_lead_3(lab: LabUnderTest, texts: Path) -> None:
    told = lab.json("compare", str(texts), "--model", "textrank", "--model", "lead-3")
    assert [one["name"] for one in told["models"]] == ["textrank", "lead-3"]
    assert told["models"][0]["runtime"] == "extractive"
    assert [Path(one["input"]).name for one in told["texts"]] == ["calm.txt", "storm.txt"]
    for text in told["texts"]:
        for result in text["results"]:
            assert result["summary"]
            assert set(result["measures"]) == set(SHOWN)
    assert told["texts"][1]["results"][0]["request_id"]
    assert told["failed"] == 0


def test_without_names_all_that_the_lab_runs_and_a_baseline(lab: LabUnderTest, texts: Path) -> None:
    told = lab.json("compare", str(texts))
    assert [one["name"] for one in told["models"]] == ["textrank", "lead-3"]


def test_an_answer_can_be_asked_for_that_was_not_kept(lab: LabUnderTest) -> None:
    body = {"text": f"{TEXT} {GOOD}"}
    with lab.client() as client:
        kept = [client.post("/summarize/", json=body).headers["X-Cache"] for _ in range(2)]
        fresh = client.post(
            "/summarize/", json=body, headers=Question("/", {}, fresh=True).headers(9)
        )
    assert kept == ["miss", "hit"]
    assert fresh.headers["X-Cache"] == "miss"


def test_a_model_that_the_lab_does_not_run_is_an_error_with_the_way_on(
    lab: LabUnderTest, texts: Path
) -> None:
    done = lab.run("compare", str(texts), "--model", "falconsai", "--model", "textrank")
    assert done.returncode == 2
    assert "falconsai does not run in this lab" in done.stderr
    assert "Fix: llmlab models pull falconsai (" in done.stderr, "which no `up` would run before"
    assert "then llmlab up --model falconsai" in done.stderr


def test_offline_needs_no_running_lab(
    make_lab: Callable[..., LabUnderTest], texts: Path, tmp_path: Path
) -> None:
    idle = make_lab()
    report = tmp_path / "report.html"
    done = idle.run("compare", str(texts), "--model", "textrank", "--offline",
                    "--report", str(report))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "textrank" in done.stdout and "lead-3" in done.stdout
    assert "all 2 texts" in done.stdout
    assert len(Parsed(report.read_text()).named("circle")) > 10
    assert not idle.status()["running"]


def test_a_lab_that_is_down_says_how_to_go_on(
    make_lab: Callable[..., LabUnderTest], texts: Path
) -> None:
    done = make_lab().run("compare", str(texts))
    assert done.returncode == 5
    assert "Fix: llmlab up; or --offline" in done.stderr


@pytest.mark.parametrize(
    ("report", "why"), [("report.pdf", "is no name of a page"), ("no/r.html", "there is no folder")]
)
def test_a_report_that_could_not_be_written_is_refused_before_the_work(
    lab: LabUnderTest, texts: Path, report: str, why: str
) -> None:
    done = lab.run("compare", str(texts), "--report", report)
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr


def test_a_text_that_is_refused_fails_alone(
    make_lab: Callable[..., LabUnderTest], texts: Path
) -> None:
    strict = make_lab(service__max_text_chars="100")
    done = strict.run("compare", str(texts), "-m", "textrank", "--offline", "-o", "json")
    told = json.loads(done.stdout)
    by_name = {Path(one["input"]).name: one["results"] for one in told["texts"]}
    assert "413" in by_name["storm.txt"][0]["error"]
    assert by_name["calm.txt"][0]["summary"]
    assert (done.returncode, told["failed"]) == (2, 1)


@pytest.mark.slow
def test_an_api_of_ones_own_ends_with_the_one_who_started_it(tmp_path: Path) -> None:
    script = (
        "import time\n"
        "from llmlab.answers.process import private_api\n"
        "from llmlab.config.schema import TEXTRANK\n"
        "from llmlab.service.settings import Settings\n"
        "with private_api(Settings(deployment='t', name='t', model=TEXTRANK)) as socket:\n"
        "    print(socket, flush=True)\n"
        "    time.sleep(60)\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    socket = starter.stdout.readline().strip()
    (api,) = psutil.Process(starter.pid).children()
    assert socket in api.cmdline()
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    wait_until(lambda: not api.is_running() or api.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.slow
def test_an_api_of_ones_own_ends_although_its_starter_ended_before_it_began(
    tmp_path: Path,
) -> None:
    settings = Settings(deployment="t", name="t", model=TEXTRANK)
    (tmp_path / "settings.json").write_text(settings.model_dump_json())
    gone = subprocess.Popen(["true"])
    gone.wait()
    command = [sys.executable, "-m", "llmlab.answers.process", str(gone.pid)]
    command += [str(tmp_path / "settings.json"), "--uds", str(tmp_path / "api.sock")]
    with subprocess.Popen(command) as api:
        try:
            assert api.wait(60) == 0
        finally:
            api.kill()


def test_an_api_of_ones_own_that_cannot_start_says_why(
    make_lab: Callable[..., LabUnderTest], texts: Path, tmp_path: Path
) -> None:
    done = make_lab().run("compare", str(texts), "-m", "nonsense", "--offline")
    assert done.returncode == 2
    assert "nonsense" in done.stderr
