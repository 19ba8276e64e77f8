"""Conversations that an API remembers for a rollout, and those that are copied to it: what is told
of their answers, and which are left alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from llmlab.answered import Answer
from llmlab.recording.sampling import FILE, Sample, Samples
from llmlab.service.chat.copies import CallsTool, can_be_copied, copy_of, text_of, told_of
from llmlab.service.chat.schemas import ChatRequest
from llmlab.service.drill import Drill, Kind
from tests.api import wait_until
from tests.gateways import ScriptedApi

JSON = {"type": "json_object"}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
FINE = {"cut_off": False, "refusal": False, "invalid": None}
SORRY = "I'm sorry, but I can't help with that."


def said(text: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **fields}


PICTURE = [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]
CALL = {"id": "1", "function": {"name": "add", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("messages", "fields", "can"),
    [
        ([{"role": "user", "content": "Hello"}], {}, True),
        ([{"role": "user", "content": [{"type": "text", "text": "Hello"}]}], {"n": 1}, True),
        ([{"role": "user", "content": "Hello"}], {"tools": TOOLS, "stream": True}, True),
        ([{"role": "user", "content": "Hello"}], {"n": 2}, False),
        ([{"role": "user", "content": PICTURE}], {}, False),
        ([{"role": "assistant", "tool_calls": [CALL]}], {}, False),
        ([{"role": "tool", "content": "4", "tool_call_id": "1"}], {}, False),
    ],
)
def test_what_is_all_words_and_has_one_answer_can_be_copied(
    messages: list[Any], fields: dict[str, Any], can: bool
) -> None:
    assert can_be_copied(ChatRequest.model_validate({"messages": messages, **fields})) is can


def test_a_copy_asks_for_the_same_and_not_who_asked_nor_how_it_is_to_come() -> None:
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello"}]
    asked: dict[str, Any] = {"messages": messages, "temperature": 0.5, "max_tokens": 9,
                             "tools": TOOLS, "response_format": JSON}  # fmt: skip
    named = [messages[0], messages[1] | {"name": "ada"}]
    more = {"model": "chat", "user": "ada", "stream": True, "n": 1, "messages": named}
    request = ChatRequest.model_validate(asked | more | {"logprobs": True})
    assert copy_of(request) == asked
    assert text_of(request) == "Be short.\nHello"


def test_of_a_part_a_copy_has_the_words_alone() -> None:
    part = {"type": "text", "text": "Hello", "cache": {"for": "x" * 9}, "annotations": []}
    refused = {"type": "refusal", "refusal": "No.", "text": None, "junk": 1}
    messages = [{"role": "user", "content": [part]}, {"role": "assistant", "content": [refused]}]
    copied = copy_of(ChatRequest.model_validate({"messages": messages}))["messages"]
    assert copied[0]["content"] == [{"type": "text", "text": "Hello"}]
    assert copied[1]["content"] == [{"type": "refusal", "refusal": "No."}]
    assert can_be_copied(ChatRequest.model_validate({"messages": copied}))


def test_of_an_answer_is_told_what_it_says_and_how_it_ended() -> None:
    choice = {"message": {"content": "Yes."}, "finish_reason": "stop"}
    assert told_of(choice, Answer(invalid=True)) == {
        "text": "Yes.", "ended": FINE | {"invalid": True},
    }  # fmt: skip
    # A guard stands behind what watches it on its way.
    filtered = {"message": {"content": "", "refusal": "No."}, "finish_reason": "content_filter"}
    assert told_of(filtered, Answer()) == {"text": "No.", "ended": FINE | {"refusal": True}}
    with pytest.raises(CallsTool):
        told_of({"message": {"content": None, "tool_calls": [CALL]}, "finish_reason": "x"}, None)


@pytest.fixture(scope="module")
def api() -> Iterator[ScriptedApi]:
    one = ScriptedApi()
    one.start()
    try:
        one.until_ready()
        order = Sample(
            deployment="scripted", route="chat", share=100.0, slice=2.0, until=4e9,
            pseudonyms="0" * 64,
        )  # fmt: skip
        (one.home / FILE).write_text(Samples(samples=(order,)).model_dump_json())
        wait_until(lambda: "is remembered" in one.stdout, "it is told")
        yield one
    finally:
        one.stop()


def ask(api: ScriptedApi, number: int, body: dict[str, Any], **headers: str) -> None:
    """Each time somebody else."""
    told = {"X-Route": "chat", "X-Subject": f"s{number}"} | headers
    api.request("POST", "/v1/chat/completions", json=body, headers=told)


def remembered(api: ScriptedApi) -> dict[str, dict[str, Any]]:
    return {one["text"]: one for one in api.get("/shadow/asked?route=chat").json()["asked"]}


def test_it_remembers_conversations_whole_and_streamed_and_how_they_ended(api: ScriptedApi) -> None:
    ask(api, 1, said("one two"))
    ask(api, 2, said("one two three", stream=True, max_tokens=2))
    ask(api, 3, said(SORRY))
    ask(api, 4, said("no JSON", response_format=JSON))
    found = remembered(api)
    told = {text: (one["summary"], one["ended"]) for text, one in found.items()}
    assert told == {
        "one two": ("one two", FINE),
        "one two three": ("one two ", FINE | {"cut_off": True}),
        SORRY: (SORRY, FINE | {"refusal": True}),
        "no JSON": ("no JSON", FINE | {"invalid": True}),
    }
    assert found["one two three"]["options"] == said("one two three", max_tokens=2)
    first = found["one two"]
    assert first.pop("by") == "s1" and "s1" not in str(first)


def test_it_remembers_nothing_of_who_opts_out_nor_of_what_broke_off_or_is_anothers(
    api: ScriptedApi,
) -> None:
    before = remembered(api).keys()
    ask(api, 11, said("a"), **{"Cache-Control": "no-store"})
    ask(api, 12, said("b", store=False))
    ask(api, 13, said("c"), **{"X-Route": "another"})
    ask(api, 14, said("d", n=2))
    ask(api, 15, said('{"say": "one two", "break_after": 1}', stream=True))
    ask(api, 16, said('{"refuse": 400}'))
    assert remembered(api).keys() == before


def copy(api: ScriptedApi, name: str, body: dict[str, Any]) -> Any:
    return api.request("POST", "/shadow/chat", json=body, headers={"X-Request-ID": name})


def answer(api: ScriptedApi, name: str) -> dict[str, Any]:
    def found() -> dict[str, Any]:
        answers = api.get("/shadow/answers").json()["answers"]
        return next((one for one in answers if one["request_id"] == name), {})

    return wait_until(found, f"the answer {name}")


def test_a_copy_is_answered_when_there_is_time_and_nobody_is_charged(api: ScriptedApi) -> None:
    before, tokens = remembered(api), api.metric("llmlab_output_tokens_total")
    assert copy(api, "one", said("one two three", max_tokens=2)).json() == {"taken": True}
    told = answer(api, "one")
    assert (told["summary"], told["ended"]) == ("one two ", FINE | {"cut_off": True})
    assert api.metric("llmlab_output_tokens_total") == tokens + 2
    assert copy(api, "two", said('{"refuse": 400}')).status_code == 202
    assert "summary" not in answer(api, "two") and answer(api, "two")["error"]
    heard = copy(api, "three", said('{"tell": "request"}'))
    assert "x-usage" not in heard.headers and answer(api, "three")["summary"]
    assert remembered(api) == before  # a copy is nobody's request


def test_what_cannot_be_compared_is_no_copy(api: ScriptedApi) -> None:
    for body in (said("a", n=2), said("a", stream=True), {"messages": []}):
        assert copy(api, "none", body).status_code == 400


def test_a_drill_strikes_copies_as_it_strikes_what_clients_ask(api: ScriptedApi) -> None:
    drill = Drill(kind=Kind.REFUSALS, containing="lamp")
    (api.home / "drill.json").write_text(drill.model_dump_json())
    wait_until(lambda: "fault drill: refusals" in api.stdout, "it is told")
    copy(api, "lamp", said("the lamp"))
    copy(api, "ship", said("the ship"))
    assert answer(api, "lamp")["ended"]["refusal"] is True
    assert answer(api, "ship")["summary"] == "the ship"
    (api.home / "drill.json").unlink()
