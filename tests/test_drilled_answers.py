"""What a fault drill does to an answer in OpenAI's dialect, chunk by chunk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from llmlab.languages import guess
from llmlab.runtimes.chat import Chunk
from llmlab.service.chat import drilled as module
from llmlab.service.chat.chunks import Kind, tidied
from llmlab.service.chat.collecting import collected
from llmlab.service.chat.drilled import REFUSAL, drilled
from llmlab.service.drill import Drill
from llmlab.service.drill import Kind as Fault

WORDS = [f"w{n} " for n in range(20)]


def told(fault: Fault | None, kind: Kind = "chat", words: list[str] = WORDS, **values: Any) -> Any:
    """The chunks of an answer in so many pieces, as a client gets them."""
    closed = []

    async def model(seconds: float) -> AsyncGenerator[Chunk]:
        try:
            for word in words:
                said = {"delta": {"content": word}} if kind == "chat" else {"text": word}
                yield {"choices": [{"index": 0, **said, "finish_reason": None}]}
            yield {"choices": [{"index": 0, "finish_reason": "stop"}], "usage": {"n": 1}}
        finally:
            closed.append(seconds)

    async def work() -> list[Chunk]:
        drill = Drill(kind=fault, **values) if fault else None
        return [one async for one in tidied(kind, drilled(kind, drill, model, 30.0))]

    found = asyncio.run(work())
    assert closed == ([] if fault is Fault.REFUSALS else [30.0])
    return found


def whole(chunks: list[Chunk]) -> Any:
    async def again() -> AsyncGenerator[Chunk]:
        for one in chunks:
            yield one

    return asyncio.run(collected(again()))[0]


@pytest.mark.parametrize("kind", ["chat", "text"])
def test_without_a_drill_nothing_is_done_to_it(kind: Kind) -> None:
    answer = whole(told(None, kind))
    assert (answer.text(), answer.reason) == ("".join(WORDS), "stop")


@pytest.mark.parametrize("kind", ["chat", "text"])
@pytest.mark.parametrize("words", [WORDS, ["".join(WORDS)]], ids=["in pieces", "at once"])
def test_one_that_is_truncated_ends_after_a_few_words_as_at_a_limit(
    kind: Kind, words: list[str]
) -> None:
    answer = whole(told(Fault.TRUNCATED, kind, words))
    assert answer.reason == "length"
    assert 0 < len(answer.text().split()) < len(WORDS)


def test_a_refusal_is_one_by_openais_field_and_the_model_is_not_asked() -> None:
    answer = whole(told(Fault.REFUSALS))
    assert (answer.text("refusal"), answer.text(), answer.reason) == (REFUSAL, None, "stop")
    assert whole(told(Fault.REFUSALS, "text")).text() == REFUSAL


@pytest.mark.parametrize(
    ("fault", "after"), [(Fault.LATE, 0), (Fault.STALLS, 1)], ids=["late first token", "stalls"]
)
def test_the_pause_is_before_the_first_token_or_after_it(
    fault: Fault, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    came: list[Any] = []

    async def sleep(seconds: float) -> None:
        came.append(seconds)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)

    async def work() -> None:
        async def model(seconds: float) -> AsyncGenerator[Chunk]:
            del seconds
            for word in WORDS:
                yield {"choices": [{"index": 0, "delta": {"content": word}}]}

        async for one in drilled("chat", Drill(kind=fault, seconds=7), model, 30.0):
            came.append(one["choices"][0]["delta"]["content"])

    asyncio.run(work())
    assert came == [*WORDS[:after], 7, *WORDS[after:]]


@pytest.mark.parametrize("kind", ["chat", "text"])
@pytest.mark.parametrize("words", [WORDS, ["".join(WORDS)]], ids=["in pieces", "at once"])
def test_another_language_comes_in_as_many_pieces_and_is_about_as_long(
    kind: Kind, words: list[str]
) -> None:
    usual, chunks = told(None, kind, words), told(Fault.OTHER_LANGUAGE, kind, words)
    answer = whole(chunks)
    assert guess(answer.text(), "en") == "fr" and answer.reason == "stop"
    assert 0 <= len(answer.text()) - len("".join(WORDS)) < 16
    assert len(chunks) >= len(usual) - len(words) // 2  # some words are longer than the pieces


def test_tools_that_are_called_have_no_language() -> None:
    call = {"tool_calls": [{"index": 0, "function": {"name": "add", "arguments": "{}"}}]}

    async def work() -> list[Chunk]:
        async def model(seconds: float) -> AsyncGenerator[Chunk]:
            del seconds
            yield {"choices": [{"index": 0, "delta": call, "finish_reason": None}]}

        drill = Drill(kind=Fault.OTHER_LANGUAGE)
        return [one async for one in drilled("chat", drill, model, 30.0)]

    assert asyncio.run(work()) == [
        {"choices": [{"index": 0, "delta": call, "finish_reason": None}]}
    ]
