"""The client of model servers: nothing is lost, and every failure is of one tree."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from llmlab.runtimes.chat import (
    Abilities,
    BrokenOff,
    ChatFailure,
    ModelServer,
    Refused,
    Unreachable,
)

PIECES = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in ("a", "ö")]
USAGE: dict[str, Any] = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


def events(*chunks: dict[str, Any], done: bool = True) -> bytes:
    said = [f"data: {json.dumps(one, ensure_ascii=False)}\n\n" for one in chunks]
    return "".join([*said, "data: [DONE]\n\n" if done else ""]).encode()


class Parts(httpx2.AsyncByteStream):
    """A body that comes in pieces, and may break off."""

    def __init__(self, body: bytes, size: int, error: Exception | None = None) -> None:
        self.body, self.size, self.error, self.closed = body, size, error, False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.body), self.size):
            yield self.body[start : start + self.size]
        if self.error:
            raise self.error

    async def aclose(self) -> None:
        self.closed = True


def server(answer: Any) -> ModelServer:
    def handle(request: httpx2.Request) -> httpx2.Response:
        if isinstance(answer, Exception):
            raise answer
        handle.asked = json.loads(request.content)  # type: ignore[attr-defined]
        return (
            answer if isinstance(answer, httpx2.Response) else httpx2.Response(200, stream=answer)
        )

    client = httpx2.AsyncClient(transport=httpx2.MockTransport(handle), base_url="http://there/v1/")
    one = ModelServer(
        client, model="theirs", context=100, slots=1, abilities=Abilities(), patience=5
    )
    one.handle = handle  # type: ignore[attr-defined]
    return one


def read(one: ModelServer, most: int = 100) -> list[Any]:
    async def work() -> list[Any]:
        found: list[Any] = []
        async with one.stream("chat/completions", {"messages": [], "model": "ours"}) as chunks:
            async for chunk in chunks:
                found.append(chunk)
                if len(found) == most:
                    break
        return found

    return asyncio.run(work())


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_no_chunk_is_lost_wherever_the_stream_is_cut(size: int) -> None:
    assert read(server(Parts(events(*PIECES, USAGE), size))) == [*PIECES, USAGE]


def test_a_stream_with_its_usage_is_asked_for_by_the_servers_own_name() -> None:
    one = server(Parts(events(*PIECES), 1000))
    read(one)
    assert one.handle.asked == {  # type: ignore[attr-defined]
        "messages": [], "model": "theirs", "stream": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip


def test_who_leaves_early_closes_the_connection() -> None:
    body = Parts(events(*PIECES, USAGE), 10)
    assert len(read(server(body), most=1)) == 1
    assert body.closed


@pytest.mark.parametrize(
    ("said", "message", "code"),
    [
        ({"error": {"message": "too long", "code": "context_length_exceeded"}}, "too long",
         "context_length_exceeded"),
        ({"error": {"message": "too long", "code": 400}}, "too long", ""),
        ({"error": "no"}, "no", ""),
        ({"detail": "no"}, "no", ""),
        ({"message": "no"}, "no", ""),
    ],
)  # fmt: skip
def test_a_refusal_is_read_in_whatever_form_it_comes(said: Any, message: str, code: str) -> None:
    with pytest.raises(Refused) as raised:
        read(server(httpx2.Response(400, json=said, headers={"Retry-After": "7"})))
    assert (raised.value.message, raised.value.code) == (message, code)
    assert (raised.value.status, raised.value.retry_after) == (400, 7)


def test_a_refusal_may_come_as_an_event() -> None:
    refusal = {"error": {"message": "overloaded", "code": 503}}
    with pytest.raises(Refused, match="overloaded") as raised:
        read(server(Parts(events(PIECES[0], refusal), 1000)))
    assert raised.value.status == 503


@pytest.mark.parametrize(
    ("answer", "kind", "begun"),
    [
        (httpx2.ConnectError("refused"), Unreachable, None),
        (httpx2.ReadTimeout("slow"), BrokenOff, False),
        (httpx2.ReadError("reset"), BrokenOff, False),
        (Parts(b"", 1, httpx2.ReadError("reset")), BrokenOff, False),
        (Parts(events(PIECES[0], done=False), 9, httpx2.ReadError("reset")), BrokenOff, True),
        (Parts(events(PIECES[0], done=False), 9), BrokenOff, True),
        (Parts(b"data: nothing\n\n", 9), BrokenOff, False),
    ],
)
def test_whether_it_may_be_asked_again_is_known(
    answer: Any, kind: type[ChatFailure], begun: bool | None
) -> None:
    with pytest.raises(kind) as raised:
        read(server(answer))
    assert getattr(raised.value, "begun", None) is begun
