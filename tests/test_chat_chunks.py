"""What servers stream is told in one shape, and put together without a loss."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from llmlab.service.chat.bodies import parsed_json
from llmlab.service.chat.chunks import Kind, Usage, tidied
from llmlab.service.chat.collecting import collected
from llmlab.service.chat.errors import ApiError
from llmlab.service.chat.merging import merged
from llmlab.service.chat.schemas import ChatRequest
from llmlab.service.chat.tools import as_calls, as_schema, spoken, with_description


async def as_stream(chunks: list[Any]) -> AsyncGenerator[Any]:
    for one in chunks:
        if isinstance(one, Exception):
            raise one
        yield one


def all_of(stream: AsyncIterator[Any]) -> list[Any]:
    async def read() -> list[Any]:
        return [one async for one in stream]

    return asyncio.run(read())


def tidy(*choices: dict[str, Any], kind: Kind = "chat") -> list[dict[str, Any]]:
    chunks = [{"choices": [choice]} for choice in choices]
    return [one["choices"][0] for one in all_of(tidied(kind, as_stream(chunks)))]


def delta(reason: Any = None, index: int = 0, **said: Any) -> dict[str, Any]:
    return {"index": index, "delta": said, "finish_reason": reason}


def whole(*choices: dict[str, Any]) -> dict[int, dict[str, Any]]:
    chunks = [{"choices": [choice]} for choice in choices]
    found = asyncio.run(collected(tidied("chat", as_stream(chunks))))
    return {index: one.as_choice("chat", index) for index, one in found.items()}


def test_the_role_is_said_once_and_a_reason_at_the_end() -> None:
    told = tidy(
        delta(role="assistant", content=None), delta(role="assistant", content="a", reason=""),
        delta(role="assistant", content=""), delta(content="b"), delta(reason="stop"),
        delta(content="after the end"),
    )  # fmt: skip
    assert [(one["delta"], one["finish_reason"]) for one in told] == [
        ({"role": "assistant", "content": ""}, None),
        ({"content": "a"}, None),
        ({"content": "b"}, None),
        ({}, "stop"),
    ]


@pytest.mark.parametrize(
    ("said", "told"),
    [("length", "length"), ("eos", "stop"), ("end_turn", "stop"), ("content_filter",) * 2],
)
def test_a_reason_is_one_of_openais(said: str, told: str) -> None:
    assert tidy(delta(content="a"), delta(reason=said))[-1]["finish_reason"] == told


def test_a_server_that_does_not_say_why_it_ended_has_stopped() -> None:
    assert tidy(delta(content="a"))[-1]["finish_reason"] == "stop"


def test_arguments_are_a_text_and_an_index_is_a_number_whatever_came() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": {"city": "Paris"}}}
    choice = whole(delta(tool_calls=[call]), delta(reason="stop"))[0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [
        {"id": "c", "type": "function",
         "function": {"name": "f", "arguments": '{"city": "Paris"}'}},
    ]  # fmt: skip


def test_parts_of_calls_and_of_several_choices_are_put_together() -> None:
    first = {"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}
    other = {"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}}
    found = whole(
        delta(tool_calls=[first]), delta(index=1, content="x"),
        delta(tool_calls=[{"index": 0, "function": {"arguments": '{"a"'}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": ": 1}"}}, other]),
        delta(index=1, content="y", reason="length"), delta(reason="tool_calls"),
    )  # fmt: skip
    calls = found[0]["message"]["tool_calls"]
    assert [one["function"]["arguments"] for one in calls] == ['{"a": 1}', "{}"]
    assert (found[1]["message"]["content"], found[1]["finish_reason"]) == ("xy", "length")


def test_log_probabilities_of_a_completion_have_the_old_shape() -> None:
    said = {"content": [{"token": "a", "logprob": -1.0,
                         "top_logprobs": [{"token": "b", "logprob": -0.5}]}]}  # fmt: skip
    (told, _) = tidy({"index": 0, "text": "a", "logprobs": said}, kind="text")
    assert told["logprobs"] == {
        "tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{"b": -0.5}], "text_offset": [],
    }  # fmt: skip


def test_tokens_of_a_prompt_count_once_for_all_its_choices() -> None:
    usage = Usage()
    for part in range(3):
        usage.note(part, 0, {"prompt_tokens": 30, "completion_tokens": 2})
    usage.note(3, 1, {"prompt_tokens": 5})
    usage.saw(3)  # a client that left before the usage came
    assert (usage.read, usage.completion) == (35, 7)
    assert usage.as_json()["total_tokens"] == 42


def test_streams_are_merged_and_the_first_failure_ends_all() -> None:
    assert sorted(all_of(merged([as_stream([1, 2]), as_stream([3])]))) == [1, 2, 3]
    with pytest.raises(ValueError, match="broken"):
        all_of(merged([as_stream([1, ValueError("broken")]), as_stream(list(range(1000)))]))


# --- tools for models that know none ---------------------------------------------

PARAMETERS = {
    "type": "object",
    "properties": {"a": {"$ref": "#/$defs/A"}},
    "$defs": {"A": {"type": "integer"}},
}
FUNCTION = {"name": "f", "parameters": PARAMETERS}


def asked(**more: Any) -> ChatRequest:
    tools = [{"type": "function", "function": FUNCTION}]
    messages = [{"role": "user", "content": "Hi"}]
    return ChatRequest.model_validate({"messages": messages, "tools": tools, **more})


def test_a_model_may_answer_in_words_unless_it_has_to_call() -> None:
    assert len(as_schema(asked())["json_schema"]["schema"]["anyOf"]) == 2
    schema = as_schema(asked(tool_choice="required"))["json_schema"]["schema"]
    assert schema["properties"]["name"] == {"const": "f"}
    assert schema["$defs"] == {"A": {"type": "integer"}}


@pytest.mark.parametrize(
    ("written", "content", "arguments", "reason"),
    [
        ('{"name": "f", "arguments": {"a": 1}}', None, '{"a": 1}', "tool_calls"),
        ('{"answer": "Hello"}', "Hello", None, "stop"),
        ('{"name": "f", "argu', '{"name": "f", "argu', None, "length"),
    ],
)
def test_what_was_written_is_a_call_or_an_answer(
    written: str, content: str | None, arguments: str | None, reason: str
) -> None:
    end = "length" if reason == "length" else "stop"
    parts = [delta(content=written[:5]), delta(content=written[5:]), delta(reason=end)]
    chunks = tidied("chat", as_calls(as_stream([{"choices": [one]} for one in parts])))
    choice = asyncio.run(collected(chunks))[0].as_choice("chat", 0)
    assert choice["message"]["content"] == content
    assert choice["finish_reason"] == reason
    calls = choice["message"].get("tool_calls", [])
    assert [one["function"]["arguments"] for one in calls] == ([arguments] if arguments else [])


def test_calls_and_results_are_said_in_words() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": '{"a": 1}'}}
    one = asked(messages=[
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "42"},
    ])  # fmt: skip
    said = with_description(spoken(one.messages), "Tools.")
    assert said == [
        {"role": "system", "content": "Tools."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": '{"name": "f", "arguments": {"a": 1}}'},
        {"role": "user", "content": "Result of f: 42"},
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"[1]", b"{", b'{"a": NaN}', b'{"a": "\\ud800"}', b"\xff", b'{"a": "\xed\xa0\x80"}',
        '{"a": "\\ud800"}'.encode("utf-16"), b'{"a":' * 100_000 + b"}" * 100_000,
    ],
    ids=lambda body: repr(body)[:20],
)  # fmt: skip
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError, match="JSON") as raised:
        parsed_json(body)
    assert raised.value.status == 400


def test_what_is_nested_too_deep_to_be_written_again_is_refused() -> None:
    with pytest.raises(ApiError, match="nested more than 100 deep"):
        parsed_json(b'{"a":' * 101 + b"1" + b"}" * 101)
    assert parsed_json(b'{"a": [' + b"[1]," * 200 + b"[]]}")["a"][0] == [1]
