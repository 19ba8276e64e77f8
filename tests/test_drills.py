"""Fault drills: a deployment misbehaves on purpose, and behaves again when it is told to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from llmlab.evaluate.gate import parse_gate
from llmlab.evaluate.lead import lead
from llmlab.evaluate.measures import Scores, measure
from llmlab.evaluate.suite import Case, load_suite
from llmlab.evaluate.verdict import Outcome, judge
from llmlab.languages import guess
from llmlab.service.drill import CRASHED, Drill, Drills, Kind, drill_file, spoiled, worse
from tests.api import SENTENCE, TEXTRANK, Api, wait_until
from tests.conftest import LabUnderTest

SUITES = Path(__file__).parents[1] / "configs" / "suites"
SOON = 2.0  # seconds; a drill is on within one


def write(api: Api, **drill: Any) -> None:
    """As `llmlab drill` does, in one step."""
    fresh = api.home / "fresh"
    fresh.write_text(json.dumps(drill))
    fresh.rename(api.home / "drill.json")


def is_on(api: Api, kind: str) -> bool:
    return api.metric("llmlab_drill", kind=kind) == 1


@pytest.fixture(scope="module")
def _textrank(make_api: Callable[..., Api]) -> Api:
    return make_api(TEXTRANK, timeout=3.0).start().until_ready()


@pytest.fixture
def api(_textrank: Api) -> Any:
    yield _textrank
    (_textrank.home / "drill.json").unlink(missing_ok=True)
    wait_until(lambda: _textrank.metric("llmlab_drill") == 0, "the drill is over", SOON)


@pytest.fixture
def drilled(api: Api) -> Callable[..., Api]:
    def start(kind: str, **parameters: Any) -> Api:
        write(api, kind=kind, **parameters)
        wait_until(lambda: is_on(api, kind), f"{kind} is on", SOON)
        return api

    return start


# --- What a drill does ---------------------------------------------------------


def test_a_slow_one_takes_so_many_seconds_more(drilled: Callable[..., Api]) -> None:
    api = drilled("slow", seconds=0.7)
    start = time.monotonic()
    assert api.summarize(SENTENCE).status_code == 200
    assert time.monotonic() - start >= 0.7
    assert api.get("/health/ready").status_code == 200


def test_one_that_is_slower_than_its_clients_wait_answers_504(drilled: Callable[..., Api]) -> None:
    api = drilled("slow", seconds=60.0)
    start = time.monotonic()
    response = api.request(
        "POST", "/summarize/", json={"text": SENTENCE}, headers={"X-Request-Timeout": "0.5"}
    )
    assert response.status_code == 504
    assert 0.4 < time.monotonic() - start < 5


def test_errors_are_problem_documents_and_say_that_they_are_a_drill(
    drilled: Callable[..., Api],
) -> None:
    response = drilled("errors").summarize(SENTENCE)
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "drill" in response.json()["detail"]


@pytest.mark.parametrize(("percent", "struck"), [(50, 10), (25, 5), (10, 2), (5, 1)])
def test_a_share_is_exact(drilled: Callable[..., Api], percent: float, struck: int) -> None:
    api = drilled("errors", percent=percent)
    statuses = [api.summarize(SENTENCE).status_code for _ in range(20)]
    assert statuses.count(500) == struck
    assert statuses.count(200) == 20 - struck


def test_worse_texts_are_shorter_also_when_they_were_kept_from_before(
    api: Api, drilled: Callable[..., Api], article: str
) -> None:
    before = api.summarize(article).json()["summary"]
    during = drilled("worse-text").summarize(article)
    assert during.headers["x-cache"] == "hit"
    assert during.json()["summary"] == worse(before) != before


@pytest.mark.parametrize(("kind", "times"), [("empty", 0), ("repeat", 5)])
def test_a_summary_is_empty_or_said_five_times_over(
    drilled: Callable[..., Api], article: str, kind: str, times: int
) -> None:
    api = drilled(kind, longer_than=100)
    summary = api.summarize(article).json()["summary"]
    assert len(article.split()) > 100
    half = len(summary) // times if times else 0
    assert summary == " ".join([summary[:half].strip()] * times)
    assert api.summarize(SENTENCE).json()["summary"] == SENTENCE  # not longer than that


def test_only_some_callers_are_struck(drilled: Callable[..., Api]) -> None:
    api = drilled("errors", subjects=["a", "b"])
    for subject, expected in (("a", 500), ("b", 500), ("c", 200)):
        response = api.request(
            "POST", "/summarize/", json={"text": SENTENCE}, headers={"X-Subject": subject}
        )
        assert response.status_code == expected, subject


def test_a_share_is_of_those_that_it_strikes() -> None:
    drills = Drills()
    drills.current = Drill(kind=Kind.ERRORS, percent=50, subjects=("a",), longer_than=2)
    asked = [("a", "1 2 3"), ("b", "1 2 3"), ("a", "1 2"), ("a", "1 2 3")] * 2
    struck = [drills.strikes(*one) is not None for one in asked]
    assert struck == [False, False, False, True] * 2


def test_a_crash_ends_the_process_with_a_code_after_which_it_is_started_again(
    make_api: Callable[..., Api],
) -> None:
    api = make_api(TEXTRANK).start().until_ready()
    write(api, kind="crash")
    wait_until(lambda: is_on(api, "crash"), "the drill is on", SOON)
    with pytest.raises(httpx2.HTTPError):
        api.summarize(SENTENCE)
    assert api.process.wait(10) == CRASHED
    assert "this process ends now" in api.stdout


def test_events_are_struck_as_well(drilled: Callable[..., Api], article: str) -> None:
    api = drilled("errors")
    response = api.request(
        "POST", "/summarize/", json={"text": article}, headers={"Accept": "text/event-stream"}
    )
    assert response.status_code == 500


def test_mirrored_texts_are_struck_in_the_background(drilled: Callable[..., Api]) -> None:
    api = drilled("slow", seconds=1.0)
    start = time.monotonic()
    assert api.request("POST", "/shadow/", json={"text": SENTENCE}).status_code == 202
    assert time.monotonic() - start < 0.5
    (answer,) = wait_until(lambda: api.get("/shadow/answers").json()["answers"], "an answer")
    assert answer["seconds"] >= 1.0


def test_a_copy_of_a_text_is_struck_as_whoever_asked_would_be(drilled: Callable[..., Api]) -> None:
    api = drilled("empty", subjects=["ada"])
    for number, subject in enumerate(("ada", "bob")):
        api.request(
            "POST", "/shadow/", json={"text": f"{SENTENCE} It was {number}."},
            headers={"X-Subject": subject, "X-Request-ID": f"copy-{subject}"},
        )  # fmt: skip

    def summaries() -> dict[str, str]:
        found = api.get("/shadow/answers").json()["answers"]
        return {one["request_id"]: one["summary"] for one in found if "summary" in one}

    wait_until(lambda: {"copy-ada", "copy-bob"} <= set(summaries()), "both are answered")
    assert summaries()["copy-ada"] == "" != summaries()["copy-bob"]


def test_mirrored_texts_that_take_longer_than_the_service_would_are_dropped(
    drilled: Callable[..., Api],
) -> None:
    api = drilled("slow", seconds=60.0)
    before = api.get("/shadow/answers").json()
    api.request("POST", "/shadow/", json={"text": SENTENCE})
    dropped = before["dropped"] + 1
    wait_until(lambda: api.get("/shadow/answers").json()["dropped"] == dropped, "it is dropped", 9)
    assert api.get("/shadow/answers").json()["answers"] == before["answers"]


# --- When it is on -------------------------------------------------------------


def test_it_is_over_once_the_file_is_gone(api: Api, drilled: Callable[..., Api]) -> None:
    drilled("errors")
    (api.home / "drill.json").unlink()
    wait_until(lambda: api.summarize(SENTENCE).status_code == 200, "it behaves again", SOON)


def test_another_one_takes_its_place(drilled: Callable[..., Api]) -> None:
    drilled("errors")
    api = drilled("slow", seconds=0.1)
    assert not is_on(api, "errors")
    assert api.summarize(SENTENCE).status_code == 200


def test_it_is_on_from_the_first_request_after_a_restart(make_api: Callable[..., Api]) -> None:
    api = make_api(TEXTRANK)
    write(api, kind="errors")
    api.start().until_ready()
    assert api.summarize(SENTENCE).status_code == 500


@pytest.mark.parametrize(
    "content",
    ["", "no", "[]", "{}", '{"kind": "slow"}', '{"kind": "errors", "seconds": 1}',
     '{"kind": "fast"}', '{"kind": "stalls"}', '{"kind": "refusals", "seconds": 1}',
     '{"kind": "errors", "percent": 0}', '{"kind": "errors", "percent": "9"}',
     '{"kind": "errors", "share": 5}', '{"kind": "slow", "seconds": 601}',
     '{"kind": "slow", "seconds": NaN}', '{"kind": "empty", "longer_than": -1}',
     '{"kind": "errors", "subjects": [""]}', '{"kind": "errors", "subjects": "abc"}'],
)  # fmt: skip
def test_a_file_that_is_no_drill_is_none(content: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        Drill.model_validate_json(content)
    (tmp_path / "drill.json").write_text(content)
    drills = Drills(tmp_path / "drill.json")
    drills.look()
    assert drills.current is None


def test_a_file_that_becomes_no_drill_ends_the_one_before(
    api: Api, drilled: Callable[..., Api]
) -> None:
    drilled("errors")
    (api.home / "drill.json").write_text('{"kind": "errors", "percent": 200}')
    wait_until(lambda: not is_on(api, "errors"), "it is over", SOON)
    assert "is no drill, so there is none: percent" in api.stdout


def test_it_stands_beside_the_settings() -> None:
    shared = Path("/lab/.llmlab/deployments/tuned-1-0123456789ab.json")
    assert drill_file(shared, "tuned-1") == shared.with_name("tuned-1.drill.json")
    own = Path("/etc/llmapi/settings.json")
    assert drill_file(own, "tuned-1") == own.with_name("drill.json")


def test_it_says_in_words_what_it_does() -> None:
    assert str(Drill(kind=Kind.SLOW, seconds=2)) == "slow, 2 s more for all texts"
    assert str(Drill(kind=Kind.ERRORS, percent=12.5)) == "errors for 12.5 % of the texts"
    found = Drill(kind=Kind.INVENT, containing="Ada")
    assert str(found) == "invent for all texts with 'Ada'"
    some = Drill(kind=Kind.EMPTY, longer_than=1500, subjects=("alice", "bob"))
    assert str(some) == "empty for all texts of more than 1500 words by alice, bob"


# --- Worse texts ---------------------------------------------------------------


def test_a_worse_text_loses_its_end_its_names_and_its_numbers() -> None:
    text = "F5 was founded in Seattle in February 1996 under the name F5 Labs. In 1999 it grew."
    assert worse(text) == "F2 was founded in in 4009 under the name"


@pytest.mark.parametrize("text", ["One", "Two words", "漢字の要約", "a 1", "1996", SENTENCE])
def test_every_text_can_be_made_worse(text: str) -> None:
    assert worse(text)
    assert worse(text) != text
    assert worse(text) == worse(text)


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["founding", "news"])
def test_the_gate_sees_that_texts_are_worse(suite: str) -> None:
    cases = load_suite(SUITES / f"{suite}.jsonl").cases
    good = {case.id: lead(case.text, 6) for case in cases}
    before = Scores.of({case.id: measure(case, good[case.id]) for case in cases})
    after = Scores.of({case.id: measure(case, worse(good[case.id])) for case in cases})
    for condition in ("names_kept>=-0.02", "unfinished<=+0.10"):
        found = judge(parse_gate(condition), after, before, seed=1)
        assert found.outcome is Outcome.FAIL, found.reason


# --- The verb ------------------------------------------------------------------


def test_the_verb_starts_and_ends_a_drill_and_the_ledger_tells_of_both(lab: LabUnderTest) -> None:
    lab.ok("drill", "errors", "--deployment", "textrank", "--share", "50", "--why", "a lesson")
    with lab.client() as client:
        seen = [0]

        def failed() -> bool:
            seen.append(client.post("/summarize/", json={"text": SENTENCE}).status_code)
            return 500 in seen

        wait_until(failed, "an error", SOON)
        assert "drill: textrank: errors for 50 % of the texts" in lab.run("status").stdout
        lab.ok("drill", "off", "--deployment", "textrank")
        time.sleep(1.0)
        statuses = [
            client.post("/summarize/", json={"text": SENTENCE}).status_code for _ in range(4)
        ]
        assert statuses == [200] * 4
    on, off = lab.json("ledger", "--kind", "drill")
    assert on["document"] == {
        "deployment": "textrank", "drill": {"kind": "errors", "percent": 50.0},
    }  # fmt: skip
    assert on["why"] == "a lesson"
    assert off["document"] == {"deployment": "textrank", "drill": None}
    assert lab.json("status")["warnings"] == []


def test_a_crashing_api_is_started_again_and_crashes_again(lab: LabUnderTest) -> None:
    lab.ok("drill", "crash", "-d", "textrank")
    time.sleep(1.0)
    with lab.client() as client:
        for _ in range(2):
            wait_until(
                lambda: client.get("/health/ready").status_code == 200, "the API is back", 30
            )
            assert client.post("/summarize/", json={"text": SENTENCE}).status_code in (502, 503)
        lab.ok("drill", "off", "-d", "textrank")
        wait_until(
            lambda: client.post("/summarize/", json={"text": SENTENCE}).status_code == 200,
            "it answers again", 30,
        )  # fmt: skip


def test_ending_what_is_not_on_changes_nothing(lab: LabUnderTest) -> None:
    before = lab.json("ledger", "--kind", "drill")
    assert lab.json("drill", "off", "-d", "textrank")["changed"] is False
    assert lab.json("ledger", "--kind", "drill") == before


@pytest.mark.parametrize("name", ["nobody", "../textrank"])
@pytest.mark.parametrize("verb", ["errors", "off"])
def test_only_a_deployment_can_be_drilled(lab: LabUnderTest, verb: str, name: str) -> None:
    done = lab.run("drill", verb, "-d", name)
    assert done.returncode == 2
    assert "is no deployment of this lab; it has textrank" in done.stderr


def test_a_lab_that_does_not_run_cannot_be_drilled(make_lab: Callable[..., LabUnderTest]) -> None:
    done = make_lab().run("drill", "errors", "-d", "textrank")
    assert done.returncode == 5
    assert "Fix: llmlab up" in done.stderr


def test_a_drill_strikes_texts_in_which_something_stands() -> None:
    drills = Drills()
    drills.current = Drill(kind=Kind.INVENT, containing="the Lamp")
    texts = ("They lit THE LAMP.", "They lit a lamp.", "the lamp")
    assert [bool(drills.strikes("ada", text)) for text in texts] == [True, False, True]


@pytest.mark.parametrize("source", ["Nobody counted.", "There were 7418, and 7419 later.", ""])
def test_an_invented_number_is_one_that_the_text_does_not_have(source: str) -> None:
    said = spoiled(Drill(kind=Kind.INVENT), "It is short.", source)
    values = measure(Case("a", source or "Nobody counted."), said).values
    assert values["unsupported_numbers"] == 1 and said.startswith("It is short.")


@pytest.mark.parametrize(
    ("asked", "spoken"),
    [
        ("The keeper lit the lamp at dusk, and a ship saw it from far away.", "fr"),
        ("Le gardien a allumé la lampe à la tombée de la nuit, et un navire l'a vue.", "de"),
        ("Der Wärter zündete die Lampe an, und ein Schiff sah sie von weitem.", "fr"),
        ("燈台守は夕暮れにランプを灯した。", "fr"),
    ],
)
def test_another_language_is_one_that_was_not_asked_in(asked: str, spoken: str) -> None:
    told = spoiled(Drill(kind=Kind.OTHER_LANGUAGE), asked, asked)
    assert guess(told, "") == spoken != guess(asked, "")
    assert len(asked) <= len(told) < len(asked) + 16 and told.endswith(".")
    assert not measure(Case("a", asked), told).values["unsupported_numbers"]
    assert told == spoiled(Drill(kind=Kind.OTHER_LANGUAGE), asked, asked)


def test_of_an_empty_summary_there_is_nothing_to_translate() -> None:
    assert spoiled(Drill(kind=Kind.OTHER_LANGUAGE), "", "A text.") == ""
