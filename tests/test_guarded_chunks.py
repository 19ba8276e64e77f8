"""Chunks of an answer past the guards: choices, tool calls and what else has a text."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from llmlab.config import Config
from llmlab.guards.loading import load
from llmlab.guards.window import Window
from llmlab.runtimes.chat import Chunk
from llmlab.service.chat.chunks import tidied
from llmlab.service.chat.collecting import collected
from llmlab.service.chat.guarded import guarded, guarded_whole
from tests import fakes

KEY = next(fakes.samples(fakes.SECRETS["npm"], 1))
CARD = next(fakes.samples(fakes.card, 1))
RULES = load(
    Config.model_validate(
        {"guards": [{"kind": "secrets"}, {"kind": "pii", "action": "redact"}]}
    ).guards
)


def opened(strict: bool) -> Window:
    return Window(RULES, "answer", lambda *_: None, strict=strict)


def piece(index: int, finish: str | None = None, **delta: Any) -> Chunk:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def call(arguments: str, name: str = "", index: int = 0) -> dict[str, Any]:
    named = {"id": "call_1", "function": {"name": name, "arguments": arguments}}
    rest = {"function": {"arguments": arguments}}
    return {"tool_calls": [{"index": index, **(named if name else rest)}]}


class Model:
    """What a model streams; whether it was stopped before its end."""

    def __init__(self, *chunks: Chunk) -> None:
        self.chunks, self.stopped = chunks, False

    async def __call__(self) -> AsyncGenerator[Chunk]:
        sent = 0
        try:
            for chunk in self.chunks:
                sent += 1
                yield chunk
        finally:
            self.stopped = sent < len(self.chunks)


def told(model: Model, choices: int = 1) -> list[dict[str, Any]]:
    """The choices of the chunks that leave."""

    async def work() -> list[dict[str, Any]]:
        stream = guarded("chat", tidied("chat", model()), opened, choices)
        return [choice async for chunk in stream for choice in chunk["choices"]]

    return asyncio.run(work())


def of(choices: list[dict[str, Any]], index: int) -> tuple[str, Any]:
    """(content, reason) of one choice, put together."""
    own = [one for one in choices if one["index"] == index]
    return "".join(one["delta"].get("content") or "" for one in own), own[-1]["finish_reason"]


def test_each_choice_has_windows_of_its_own_and_ends_by_itself() -> None:
    model = Model(
        piece(0, content="It is " + KEY[:20]), piece(1, content="No " + KEY[20:]),
        piece(0, content=KEY[20:]), piece(1, content=" key here."), piece(0, content=", said I."),
        piece(1, content=""), piece(1, "stop"), piece(0, "stop"),
    )  # fmt: skip
    found = told(model, choices=2)
    assert of(found, 0) == ("It is ", "content_filter")
    assert of(found, 1) == (f"No {KEY[20:]} key here.", "stop")


def test_once_all_choices_have_ended_their_model_is_stopped() -> None:
    model = Model(piece(0, content=f"{KEY} "), *[piece(0, content=" and on")] * 50)
    assert of(told(model), 0) == ("", "content_filter")
    assert model.stopped


def test_reasoning_and_content_do_not_mix_and_nothing_is_left_behind() -> None:
    model = Model(
        piece(0, reasoning_content="Hm, " + CARD[:7]), piece(0, reasoning_content=CARD[7:]),
        piece(0, content="So " + CARD), piece(0, "length"),
    )  # fmt: skip
    found = told(model)
    thought = "".join(one["delta"].get("reasoning_content", "") for one in found)
    assert (thought, of(found, 0)) == ("Hm, [card]", ("So [card]", "length"))


def test_a_call_comes_whole_or_not_at_all() -> None:
    arguments = json.dumps({"city": "Paris", "days": 3})
    pieces = [arguments[place : place + 4] for place in range(0, len(arguments), 4)]
    found = told(Model(
        piece(0, **call("", "get_weather")), *(piece(0, **call(one)) for one in pieces),
        piece(0, "tool_calls"),
    ))  # fmt: skip
    parts = [one for each in found for one in each["delta"].get("tool_calls", ())]
    assert parts[0]["function"] == {"name": "get_weather", "arguments": ""}
    assert "".join(one["function"]["arguments"] for one in parts) == arguments
    assert {one["index"] for one in parts} == {0} and found[-1]["finish_reason"] == "tool_calls"


def test_nothing_is_replaced_in_what_a_program_reads() -> None:
    arguments = json.dumps({"to": CARD})
    model = Model(
        piece(0, **call("", "pay")), piece(0, **call(arguments[:14])),
        piece(0, **call(arguments[14:])), piece(0, "tool_calls"),
    )  # fmt: skip
    found = told(model)
    assert found[-1]["finish_reason"] == "content_filter"
    assert CARD[:9] not in json.dumps(found) and "[card]" not in json.dumps(found)


def test_the_name_of_a_call_is_a_text_as_well() -> None:
    assert of(told(Model(piece(0, **call("{}", KEY)), piece(0, "stop"))), 0)[1] == "content_filter"


def test_a_whole_answer_is_treated_alike() -> None:
    async def work(model: Model) -> Any:
        found = await collected(tidied("chat", model()))
        await guarded_whole(found, opened)
        return [choice.as_choice("chat", index) for index, choice in found.items()]

    paid, keyed, called = asyncio.run(work(Model(
        piece(0, content="With " + CARD), piece(1, content=KEY), piece(2, **call(CARD, "pay")),
        piece(0, "stop"), piece(1, "stop"), piece(2, "stop"),
    )))  # fmt: skip
    assert paid["message"]["content"] == "With [card]" and paid["finish_reason"] == "stop"
    for one in (keyed, called):
        assert one["finish_reason"] == "content_filter" and one["message"]["content"] == ""
        assert "tool_calls" not in one["message"] and "refuses" in one["message"]["refusal"]
