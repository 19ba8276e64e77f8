"""A stream of an answer says how it ended, also where that is not well."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from llmlab.runtimes.chat import BrokenOff, ChatFailure, Chunk, Refused, Unreachable
from llmlab.service.chat import stream as module
from llmlab.service.chat.chunks import Named, Usage
from llmlab.service.chat.errors import ApiError, of_failure
from llmlab.service.chat.stream import ChatStream
from llmlab.service.connection import ClientGone
from llmlab.service.events import BROKEN

NAMED = Named("chat", "chatcmpl-1", 1, "ours", "blue@123")
FIRST: Chunk = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]}


class Sent:
    """What an answer sends, and a client that stays or leaves."""

    def __init__(self, leaves_after: float = 60) -> None:
        self.messages: list[Any] = []
        self.scope: dict[str, Any] = {"state": {}}
        self.after: list[bool] = []
        self._leaves_after = leaves_after

    async def receive(self) -> Any:
        await asyncio.sleep(self._leaves_after)
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.messages.append(message)

    def answer(self, rest: AsyncGenerator[Chunk], usage: Usage, *, wanted: bool = False) -> None:
        def failed(error: Exception) -> ApiError:
            assert isinstance(error, ChatFailure)
            return of_failure(error, prompt="messages")

        async def work() -> None:
            one = ChatStream(
                NAMED, FIRST, rest, usage, wanted=wanted, failed=failed, headers={}, ends=math.inf,
                after=lambda: self.after.append(True),
            )  # fmt: skip
            await one(self.scope, self.receive, self.send)

        asyncio.run(work())

    @property
    def events(self) -> list[Any]:
        text = b"".join(one.get("body", b"") for one in self.messages).decode()
        found = [one.removeprefix("data: ") for one in text.split("\n\n") if one]
        return [one if one[0] in "[:" else json.loads(one) for one in found]


async def failing(error: Exception) -> AsyncGenerator[Chunk]:
    yield FIRST
    raise error


def test_a_failure_after_the_head_is_an_event_and_then_the_end() -> None:
    sent = Sent()
    sent.answer(failing(BrokenOff("reset", begun=True)), Usage(), wanted=True)
    first, second, comment, error, done = sent.events
    assert f"{comment}\n\n" == BROKEN
    assert first == second == NAMED.chunk(FIRST["choices"])
    assert set(error) == {"error"} and "reset" in error["error"]["message"]
    assert done == "[DONE]"
    assert sent.scope["state"]["status"] == 502  # for log and metrics
    assert sent.messages[-1]["more_body"] is False and sent.after == [True]


def test_usage_comes_last_if_it_is_wanted() -> None:
    usage = Usage()
    usage.note(0, 0, {"prompt_tokens": 3, "completion_tokens": 2})

    async def rest() -> AsyncGenerator[Chunk]:
        yield {"choices": [], "usage": {}}

    sent = Sent()
    sent.answer(rest(), usage, wanted=True)
    assert sent.events[-2]["usage"]["total_tokens"] == 5 and sent.events[-2]["choices"] == []
    other = Sent()
    other.answer(rest(), usage)
    assert [one["choices"] for one in other.events[:-1]] == [FIRST["choices"]]


def test_who_leaves_ends_the_work() -> None:
    ended: list[bool] = []

    async def rest() -> AsyncGenerator[Chunk]:
        try:
            await asyncio.sleep(60)
            yield FIRST
        finally:
            ended.append(True)

    sent = Sent(leaves_after=0.05)
    with pytest.raises(ClientGone):
        sent.answer(rest(), Usage())
    assert ended == sent.after == [True]


def test_a_client_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    ended: list[bool] = []

    class Stuck(Sent):
        async def send(self, message: Any) -> None:
            await super().send(message)
            if message.get("body"):
                await asyncio.sleep(60)

    async def rest() -> AsyncGenerator[Chunk]:
        try:
            yield FIRST
        finally:
            ended.append(True)

    sent = Stuck()
    with pytest.raises(ClientGone):
        sent.answer(rest(), Usage())
    assert len(sent.messages) == 2 and sent.after == [True]


def test_a_long_silence_is_filled_with_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT", 0.02)

    async def rest() -> AsyncGenerator[Chunk]:
        await asyncio.sleep(0.2)
        yield FIRST

    sent = Sent()
    sent.answer(rest(), Usage())
    assert ": it goes on" in sent.events


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (Refused("no", status=400, kind="exceed_context_size_error"), 400,
         "context_length_exceeded"),
        (Refused("no", status=400, code="theirs"), 400, "theirs"),
        (Refused("no", status=401), 502, "upstream_error"),  # the lab's key, and not the client's
        (Refused("no", status=404), 502, "upstream_error"),
        (Refused("no", status=429, retry_after=7), 429, "rate_limit_exceeded"),
        (Refused("no", status=500), 502, "upstream_error"),
        (Unreachable("no"), 503, "unavailable"),
        (BrokenOff("no", begun=False), 502, "upstream_error"),
    ],
)  # fmt: skip
def test_what_a_client_is_told_of_a_servers_failure(
    failure: ChatFailure, status: int, code: str
) -> None:
    told = of_failure(failure, prompt="messages")
    assert (told.status, told.document["error"]["code"]) == (status, code)
    if status == 429:
        assert told.headers["Retry-After"] == "7"
