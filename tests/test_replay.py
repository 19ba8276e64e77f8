"""Replays: what of a recording is asked again, how it is judged, and all of it in a lab."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmlab.answers.asking import Asked, Told, ask_all
from llmlab.answers.sources import Manner
from llmlab.config.recording import Recording as Limits
from llmlab.errors import LlmlabError, UpstreamError, UsageError
from llmlab.evaluate.answer import Answer, Respondent
from llmlab.evaluate.dialect import MOST_TOKENS
from llmlab.evaluate.gate import GateError, parse_gate
from llmlab.evaluate.suite import Case
from llmlab.evaluate.verdict import Outcome
from llmlab.recording.redacting import UNSEEN
from llmlab.recording.store import Recordings, Wish
from llmlab.replaying.cases import AGAIN, EMPTY, PICTURES, TOOLS, Questions, questions
from llmlab.replaying.judging import judged
from tests.conftest import LabUnderTest, wait_until

Record = dict[str, Any]
ENGLISH = (
    "The keeper lit the lamp at dusk, and a ship that was far out at sea saw the light and knew "
    "how near the coast of the island it was."
)
GERMAN = (
    "Der Wärter zündete die Lampe in der Dämmerung an, und ein Schiff weit draußen auf dem Meer "
    "sah das Licht und wusste, wie nah die Küste der Insel war."
)


def record(number: int, request: Record, answer: str = "An answer.", kind: str = "chat") -> Record:
    return {
        "at": f"2026-11-30T12:{number // 60:02}:{number % 60:02}.000+00:00", "seconds": 0.1,
        "subject": "", "deployment": "d", "model_id": "sha256:1",
        "kind": kind, "request": request, "broken": False,
        "choices": [{"text": answer, "finish_reason": "stop"}],
    }  # fmt: skip


def asking(text: Any, **more: Any) -> Record:
    return {"messages": [{"role": "user", "content": text}], **more}


def of(*records: Record) -> Questions:
    return questions("chat-1", records)


# --- what is asked again -------------------------------------------------------------


def test_requests_are_asked_in_their_order_and_at_their_pace() -> None:
    found = of(
        record(7, asking("b")), record(2, asking("a")), record(9, {"text": "c"}, kind="text")
    )
    assert [one.case.given for one in found.asked] == ["a", "b", "c"]
    assert [one.after for one in found.asked] == [0, 5, 7]
    assert [bool(one.case.messages) for one in found.asked] == [True, True, False]


def test_the_same_question_is_asked_once_unless_it_is_to_be_answered_otherwise() -> None:
    found = of(*(record(n, asking("a")) for n in range(3)), record(4, asking("a", max_tokens=9)))
    assert len(found.asked) == 2
    assert found.left_out == {AGAIN: 2}


def test_how_an_answer_was_sent_and_drawn_makes_no_other_question() -> None:
    more = ({}, {"stream": True}, {"stream": False}, {"n": 1}, {"frequency_penalty": 0.0},
            {"seed": 1}, {"seed": 2})  # fmt: skip
    found = of(*(record(n, asking("a", **one)) for n, one in enumerate(more)))
    assert (len(found.asked), found.left_out) == (1, {AGAIN: 6})


@pytest.mark.parametrize(
    ("request_", "kind", "why"),
    [
        (asking("a", tools=[{"type": "function", "function": {"name": "f"}}]), "chat", TOOLS),
        (asking([{"type": "image_url", "text": UNSEEN}]), "chat", PICTURES),
        (asking(UNSEEN), "chat", PICTURES),
        ({"messages": [{"role": "tool", "content": "1", "tool_call_id": "1"}]}, "chat", TOOLS),
        ({"text": " "}, "text", EMPTY),
    ],
)
def test_what_cannot_be_asked_again_is_counted(request_: Record, kind: str, why: str) -> None:
    found = of(record(1, asking("a")), record(2, request_, kind=kind))
    assert found.left_out == {why: 1}
    with pytest.raises(UsageError, match=f"nothing of chat-1 can be asked again: 1 {why}"):
        of(record(2, request_, kind=kind))


def test_each_is_asked_as_it_was() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "array"}}}
    one, two, three = of(
        record(1, asking("a", temperature=0.5, seed=3, max_completion_tokens=7, n=2,
                         frequency_penalty=0.5, presence_penalty=0)),
        record(2, asking("b", response_format=wanted)),
        record(3, {"text": "c", "max_length": 20}, kind="text"),
    ).asked  # fmt: skip
    assert one.options == {
        "temperature": 0.5, "seed": 3, "max_tokens": 7, "frequency_penalty": 0.5,
    }  # fmt: skip
    assert two.options == {"response_format": wanted}
    assert two.case.checks.outcomes("[]") == {"json_schema": True}
    assert two.case.checks.outcomes("{}") == {"json_schema": False}
    assert three.options == {"max_length": 20}


def test_a_schema_that_is_not_taken_is_held_against_nothing_and_counted() -> None:
    """A client's schema may be made to keep whoever replays it busy for days."""
    two = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(60)}
    schema = {"$ref": "#/$defs/a0", "$defs": {**two, "a60": {"type": "integer"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    found = of(
        record(1, asking("a", response_format=wanted)),
        record(2, asking("b", response_format={"type": "json_object"})),
    )
    one, two_ = found.asked
    assert (one.case.checks.json_schema, one.options) == (None, {"response_format": wanted})
    assert two_.case.checks.outcomes("{}") == {"json_schema": True}
    assert (found.without_schema, found.left_out) == (1, {})


def test_a_language_is_expected_where_question_and_answer_were_in_it() -> None:
    same, other, short = of(
        record(1, asking(GERMAN), GERMAN), record(2, asking(ENGLISH), GERMAN),
        record(3, asking("Wo?"), "Da."),
    ).asked  # fmt: skip
    assert same.case.checks.language == "de"
    assert other.case.checks.language is short.case.checks.language is None


def test_the_pace_is_kept_where_it_is_asked_for() -> None:
    asked: list[str] = []

    async def answer(case: Case) -> Told:
        asked.append(case.id)
        return Told(Answer("An answer.", 0.1), "sha256:1", "scripted")

    cases = {name: Case(name, "A text.") for name in ("late", "early")}
    for after, order in ({}, ["late", "early"]), ({"late": 0.1, "early": 0.0}, ["early", "late"]):
        asked.clear()
        asyncio.run(ask_all([Asked("m", answer)], cases, concurrency=1, after=after))
        assert asked == order


# --- how it is judged ----------------------------------------------------------------


def respondent(name: str, asked: Questions, answer: Callable[[int], str | LlmlabError]) -> Any:
    answers: dict[str, Answer | LlmlabError] = {}
    for number, one in enumerate(asked.asked):
        said = answer(number)
        answers[one.case.id] = said if isinstance(said, LlmlabError) else Answer(said, 0.1)
    return Respondent(name, "sha256:1", "scripted", answers)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (lambda n: f"An answer {n}.", Outcome.PASS),
        (lambda n: "" if n % 3 == 0 else f"An answer {n}.", Outcome.FAIL),
        (lambda n: UpstreamError("away") if n == 5 else f"An answer {n}.", Outcome.INCONCLUSIVE),
    ],
)
def test_a_candidate_is_judged_against_the_other(
    answer: Callable[[int], str | LlmlabError], outcome: Outcome
) -> None:
    asked = of(*(record(n, asking(f"question {n}")) for n in range(60)))
    stable = respondent("stable", asked, lambda n: f"An answer {n}.")
    gate = parse_gate("checks>=-0.10 empty<=+0.10 length<=1.5x")
    found = judged(asked, respondent("next", asked, answer), stable, gate, seed=1)
    assert found.evaluation.verdict and found.evaluation.verdict.outcome is outcome
    assert found.not_judged == ("checks>=-0.10",)
    with pytest.raises(GateError, match="can be measured"):
        judged(asked, stable, stable, parse_gate("checks>=-0.10"), seed=1)


def test_where_a_model_has_answered_nothing_its_first_failure_is_told() -> None:
    asked = of(*(record(n, asking(f"question {n}")) for n in range(3)))
    well = respondent("stable", asked, lambda n: f"An answer {n}.")
    away = respondent("next", asked, lambda n: UpstreamError(f"away {n}"))
    for sides in ((away, well), (well, away)):
        with pytest.raises(UpstreamError, match="away 0"):
            judged(asked, *sides, parse_gate("empty<=+0.10"), seed=1)


def test_a_request_without_a_limit_is_asked_without_one() -> None:
    plain, limited = of(
        record(1, asking("a", temperature=0.5)), record(2, asking("b", max_tokens=9))
    ).asked  # fmt: skip
    manner = Manner(own={one.case.id: one.options for one in (plain, limited)})
    assert set(manner.of_chat(plain.case)) == {"seed", "temperature"}
    assert manner.of_chat(limited.case)["max_tokens"] == 9
    assert Manner().of_chat(plain.case)["max_tokens"] == MOST_TOKENS


# --- in a lab ------------------------------------------------------------------------

MODELS = """
[models.script]
runtime = "scripted"
source = "embedded:script"

[models.twin]
runtime = "scripted"
source = "embedded:script"
"""
RECORDED = 500
LONG = 20  # words: of every fourth question there are more


def question(number: int) -> str:
    said = f"What became of the ship that sailed from Oslo in {1500 + number}?"
    return said + " Tell it at some length, please, and with the names." * (number % 4 == 0)


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    # A route of a deployment's name leads elsewhere: who asks for the deployment gets it even so.
    one = make_lab(
        routes__chat='"script"\ntwin = "script"', deploy='["twin"]',
        gateway__rate_limit__enabled="false",
    )  # fmt: skip
    with (one.root / "configs" / "lab.toml").open("a") as config:
        config.write(MODELS)
    one.lab.make_state()
    Recordings(one.lab).start(Wish("summarize"), Limits(), ("summarize",), "compose")
    one.ok("up")
    return one


async def ask(lab: LabUnderTest) -> set[str | None]:
    """All questions, some as streams; gives what their answers say of a recording."""
    places, heard = asyncio.Semaphore(8), set()
    headers = {"Authorization": f"Bearer {lab.token()}"}
    async with httpx2.AsyncClient(base_url=lab.url, headers=headers, timeout=60) as client:

        async def one(number: int) -> None:
            body = {"model": "chat", **asking(question(number), stream=number % 2 == 0)}
            async with places:
                answer = await client.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200
            heard.add(answer.headers.get("X-Recorded"))

        await asyncio.gather(*map(one, range(RECORDED)))
    return heard


@pytest.fixture(scope="module")
def recorded(lab: LabUnderTest) -> str:
    """The name of a recording of all questions."""
    name = lab.json("record", "start", "--route", "chat", "--why", "exam")["id"]
    assert f"recording: 100 % of what chat is asked is kept as {name}" in lab.ok("status")
    wait_until(lambda: f"recording {name}: what chat" in lab.ok("logs", "api-script"))
    assert asyncio.run(ask(lab)) == {name}
    wait_until(lambda: lab.json("record", "list")[-1]["requests"] == RECORDED)
    assert lab.json("record", "stop", name)["changed"]
    return str(name)


def test_500_recorded_requests_asked_twice_give_the_same_verdict(
    lab: LabUnderTest, recorded: str, tmp_path: Path
) -> None:
    name = recorded
    # One that says nothing where many words are asked: the same texts each time.
    lab.ok("drill", "empty", "--deployment", "twin", "--longer-than", str(LONG))
    wait_until(lambda: lab.metric("twin", "llmlab_drill", kind="empty") == 1)
    page = tmp_path / "replay.html"
    verdicts = []
    for more in ((), ("--report", str(page))):
        done = lab.run("replay", name, "--model", "twin", "-c", "16", *more, "-o", "json")
        assert done.returncode == 8, done.stderr
        found = json.loads(done.stdout)
        assert (found["asked"], found["left_out"]) == (RECORDED, {})
        assert found["without_schema"] == 0
        assert found["baseline"]["name"] == "script"  # what the route's traffic gets
        verdicts.append(found["verdict"])
    assert verdicts[0] == verdicts[1]
    assert verdicts[0]["outcome"] == "fail"
    (empty,) = (one for one in verdicts[0]["findings"] if one["condition"].startswith("empty"))
    assert (empty["candidate"], empty["baseline"], empty["n"]) == (0.25, 0.0, RECORDED)
    assert name in page.read_text()
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert lab.json("record", "show", name)["opted_out"] == 0  # replays are no traffic


def test_what_another_engine_has_begun_to_record_goes_on(lab: LabUnderTest) -> None:
    (one,) = (one for one in lab.json("record", "list") if one["route"] == "summarize")
    with lab.client() as client:
        answer = client.post("/summarize/", json={"text": ENGLISH})
    assert answer.headers["X-Recorded"] == one["id"]


def test_a_route_that_is_not_up_yet_is_not_recorded(lab: LabUnderTest) -> None:
    file = lab.root / "configs" / "lab.toml"
    before = file.read_text()
    file.write_text(before.replace("[routes]", '[routes]\nlater = "script"', 1))
    try:
        done = lab.run("record", "start", "--route", "later")
    finally:
        file.write_text(before)
    assert (done.returncode, "there is no route 'later', only" in done.stderr) == (2, True)


def test_a_model_is_not_held_against_itself(lab: LabUnderTest, recorded: str) -> None:
    done = lab.run("replay", recorded, "--model", "script")
    assert (done.returncode, "Fix: --baseline NAME" in done.stderr) == (2, True)
