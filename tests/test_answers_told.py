"""How answers come and end, told by a running lab: in its log, `trace`, `top` and metrics; and what
a gate and drills make of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import httpx2
import pytest

from benchmarks.drilling import SCRIPTED
from llmlab.auth import Claims, KeyStore, mint
from llmlab.rollout.state import Outcome, Phase
from llmlab.rollout.store import Rollouts
from llmlab.service.genai import CONVENTIONS
from tests.conftest import LabUnderTest, wait_until
from tests.talking import meanwhile

JSON = {"type": "json_object"}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {
    "type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}}}  # fmt: skip
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    one = make_lab(
        gateway__rate_limit__enabled="false", routes__chat='"one"', deploy='["two"]',
        rollout__chat_gate='""', rollout__interval="2", rollout__bake="2",
        rollout__progress_deadline="100", rollout__latency_gate='""',
    )  # fmt: skip
    with (one.root / "configs" / "lab.toml").open("a") as config:
        config.write(SCRIPTED)
    one.ok("up")
    return one


def asked(said: Any, **fields: Any) -> dict[str, Any]:
    text = said if isinstance(said, str) else json.dumps(said)
    return {"model": "one", "messages": [{"role": "user", "content": text}], **fields}


def told(lab: LabUnderTest, body: dict[str, Any], *, leave: bool = False) -> Any:
    """What `llmlab trace` says of the answer to a request, and the answer as its client got it."""
    number = f"told-{time.monotonic_ns()}"
    with lab.client() as client:
        sent = {"json": body, "headers": {"X-Request-ID": number}}
        with client.stream("POST", "/v1/chat/completions", **sent) as came:
            text = next(came.iter_text()) if leave else "".join(came.iter_text())
            assert "x-answer" not in came.headers and "first:" not in text
    traced = lab.traced(number)
    return traced, text


def test_a_stream_tells_when_its_tokens_came_and_nobody_else_hears_of_it(lab: LabUnderTest) -> None:
    script = {"say": "one two three four", "wait": 0.3, "pause": 0.2}
    traced, text = told(lab, asked(script, stream=True))
    answer = traced["answer"]
    assert text.endswith("data: [DONE]\n\n") and "three" in text
    # No less than the script waits, but for what a timer rounds.
    assert answer["first"] > 0.28 and answer["gap"] > 0.18 and answer["writing"] > 0.55
    assert answer["tokens"] == 4
    assert (answer["cut_off"], answer["refusal"], answer["invalid"]) == (False, "", None)
    assert answer["first"] + answer["writing"] <= traced["timings"]["total"] + 0.01


@pytest.mark.parametrize(
    ("said", "fields", "found"),
    [
        ("one two", {}, (False, "", None)),
        ("one two three", {"max_tokens": 2}, (True, "", None)),
        ("no JSON", {"response_format": JSON}, (False, "", True)),
        ("[1]", {"response_format": JSON}, (False, "", False)),
        ('[{"n": 1}]', {"response_format": SCHEMA}, (False, "", True)),
        ('{"n": 1', {"response_format": JSON, "max_tokens": 1}, (True, "", None)),
        ("I'm sorry, but I can't help with that.", {}, (False, "words", None)),
        ("in words", {"tools": TOOLS}, (False, "", None)),
    ],
)
def test_a_whole_answer_tells_how_it_ended(
    lab: LabUnderTest, said: str, fields: dict[str, Any], found: Any
) -> None:
    traced, _ = told(lab, asked({"say": said} if said.startswith("{") else said, **fields))
    answer = traced["answer"]
    assert (answer["first"], answer["gap"], answer["writing"]) == (None, None, None)
    assert (answer["cut_off"], answer["refusal"], answer["invalid"]) == found


def test_a_stream_that_breaks_off_was_cut_off_and_one_that_is_left_tells_nothing(
    lab: LabUnderTest,
) -> None:
    traced, _ = told(lab, asked({"say": "one two three", "break_after": 2}, stream=True))
    assert traced["answer"]["cut_off"] is True
    traced, _ = told(lab, asked({"say": "x " * 50, "pause": 0.2}, stream=True), leave=True)
    assert traced["status"] in (200, 499) and traced["answer"] is None


def test_top_and_the_metrics_tell_it_by_deployment(lab: LabUnderTest) -> None:
    told(lab, asked({"say": "one two three", "pause": 0.05}, stream=True))
    told(lab, asked("one two three", max_tokens=2))
    shown = {
        one["name"]: one["seen"]["answers"] for one in lab.json("top", "--once")["deployments"]
    }
    seen = shown["one"]
    assert seen["answers"] >= 2 and seen["cut_off"] > 0 and seen["refused"] == 0
    assert seen["first_p50"] > 0 and seen["tokens_per_second"] > 0
    assert shown["textrank"] is None
    assert "tokens/s" in lab.ok("top", "--once")
    labels = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "scripted",
              "gen_ai_request_model": "one"}  # fmt: skip
    for name in ("time_to_first_token", "time_per_output_token"):
        assert lab.metric("one", f"gen_ai_server_{name}_seconds_count", **labels) >= 1
    assert lab.metric("one", "llmlab_chat_faults_total", kind="cut_off") >= 1
    assert f"semantic conventions {CONVENTIONS}" in lab.ok("metrics", "-o", "prometheus")


@contextmanager
def talking(lab: LabUnderTest) -> Iterator[None]:
    """Streams of forty subjects on the route chat, while the body runs."""
    key = KeyStore(lab.lab.keys_file).read().signing
    body = asked({"say": "one two three four five", "pause": 0.01}, stream=True) | {"model": "chat"}

    def ask(place: int, over: Event) -> None:
        tokens = [mint(key, Claims(sub=f"subject-{place}-{n}")) for n in range(10)]
        with httpx2.Client(base_url=lab.url, timeout=60, trust_env=False) as client:
            while not over.is_set():
                for token in tokens:
                    headers = {"Authorization": f"Bearer {token}"}
                    client.post("/v1/chat/completions", json=body, headers=headers)

    with meanwhile(ask):
        yield


def gave_back(lab: LabUnderTest, drill: tuple[str, ...]) -> list[str]:
    """The metrics for which a rollout of a drilled version was aborted."""
    lab.ok("drill", *drill, "--deployment", "two")
    lab.ok("rollout", "start", "canary", "two", "--route", "chat", "--steps", "50,100")
    wait_until(lambda: Rollouts(lab.lab).unfinished("chat") is None, 200)
    kept = Rollouts(lab.lab).last("chat")
    assert kept and kept.rollout.phase is Phase.ABORTED, kept
    verdict = kept.rollout.verdict
    assert verdict
    failed = [one for one in verdict.findings if one.outcome is Outcome.FAIL]
    assert all(one.reason in kept.rollout.ending for one in failed)
    lab.ok("drill", "off", "--deployment", "two")
    seconds = kept.rollout.ended - kept.rollout.created
    answers = kept.evidence.tested.total.answers
    print(f"{' '.join(drill)}: {answers} answers, {seconds:.0f} s; {kept.rollout.ending}")
    return [one.metric for one in failed]


def test_a_version_whose_answers_are_cut_off_is_given_back_and_why_is_said(
    lab: LabUnderTest,
) -> None:
    with talking(lab):
        assert "cut off" in gave_back(lab, ("truncated",))
