"""How an API tells the gateway what a request has used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from llmlab.answered import Answer
from llmlab.runtimes.chat import Chunk
from llmlab.service.chat.chunks import Usage
from llmlab.service.chat.watching import Watched, watch
from llmlab.service.settling import Desk, Settling
from llmlab.service.spending import ON_ITS_WAY, Reading, Spent, Told, begin
from llmlab.service.waiting import Place

NUMBER = "0123456789abcdef" * 2


def usage(*, prompts: dict[int, int], written: dict[int, int], ended: set[int], said: str) -> Usage:
    """Of as many parts as there are words in ``said``, which is what came of each."""
    one = Usage(prompts=prompts, written=written, ended=ended)
    for part, text in enumerate(said.split()):
        one.begun[part] = 0
        one.saw(part)
        one.hear(part, {"delta": {"content": text}})
    return one


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (Usage(), "0 0"),  # it never came to a model
        (usage(prompts={0: 9}, written={0: 5}, ended={0}, said="abc"), "9 5"),
        # Of one that broke off: a token for each byte that came, and what was on its way.
        (usage(prompts={0: 9}, written={}, ended=set(), said="灯"), f"9 <{3 + ON_ITS_WAY}"),
        (usage(prompts={}, written={}, ended=set(), said="a"), f"- <{1 + ON_ITS_WAY}"),
        # What a server has said in between is not the end of it.
        (usage(prompts={0: 9}, written={0: 50}, ended=set(), said="a"), f"9 <{50 + ON_ITS_WAY}"),
        # It came to its end, and does not count its tokens.
        (usage(prompts={0: 9}, written={}, ended={0}, said="abc"), f"9 <{3 + ON_ITS_WAY}"),
        (usage(prompts={0: 9}, written={0: 5}, ended={0}, said="a b"), f"9 <{6 + ON_ITS_WAY}"),
    ],
)
def test_an_answer_costs_what_was_counted_or_at_most_what_can_have_been(
    one: Usage, said: str
) -> None:
    assert str(one.spent()) == said


def test_a_server_that_refuses_costs_nothing_unless_it_has_written() -> None:
    one = usage(prompts={}, written={}, ended=set(), said="a b")
    one.heard[0] = 0
    one.refused(0)
    one.refused(1)
    assert list(one.begun) == [1]


def test_a_summary_costs_what_was_read_and_written_of_it() -> None:
    assert str(Reading().spent()) == "0 0"
    place = Place("a")
    assert str(Reading(place).spent()) == "0 0"  # it waits
    place.waited, place.read, place.written = 0.1, 30, 4
    assert str(Reading(place).spent()) == "- -"  # nobody knows how far the model is
    assert str(Reading(place, done=True).spent()) == "30 4"


def test_what_several_parts_of_a_request_use_is_added_up() -> None:
    assert str(Spent(1, 2) + Spent(3, 4, most=True)) == "4 <6"
    assert str(Spent(1, None) + Spent(3, 4)) == "4 -"


class Gateway:
    """Takes what it is told, once it is there."""

    def __init__(self, socket: Path) -> None:
        self.socket, self.told = socket, list[str]()
        self.heard = asyncio.Event()

    async def listen(self) -> asyncio.Server:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.told.append((await reader.readuntil(b"\r\n\r\n")).decode().split(" ")[1])
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            writer.close()
            self.heard.set()

        return await asyncio.start_unix_server(answer, self.socket)


async def served(
    desk: Desk, kind: str, body: list[bytes], header: str = NUMBER, path: str = "/summarize/",
    *, status: int = 200, watched: Watched | None = None,
) -> list[Message]:  # fmt: skip
    """What an app sends that has used 3 and 4 tokens; it ends early where its body is empty."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        told = Told(Spent(None, None))
        begin(scope, told)
        if watched:
            watch(scope, watched)
        head = [(b"content-type", kind.encode())]
        await send({"type": "http.response.start", "status": status, "headers": head})
        told.now = Spent(3, 4)
        for place, part in enumerate(body):
            more = place + 1 < len(body)
            await send({"type": "http.response.body", "body": part, "more_body": more})

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(dict(message))

    headers = [(b"x-settlement", header.encode())] if header else []
    scope: dict[str, Any] = {"type": "http", "path": path, "headers": headers, "state": {}}
    await Settling(app, desk)(scope, None, send)  # type: ignore[arg-type]
    return sent


def headers_of(message: Message) -> dict[bytes, bytes]:
    return dict(message["headers"])


@pytest.mark.parametrize("body", [[b"data: a\n\n", b"data: [DONE]\n\n"], []])
def test_a_stream_tells_at_its_end_however_that_comes(tmp_path: Path, body: list[bytes]) -> None:
    async def run() -> None:
        gateway = Gateway(tmp_path / "desk")
        async with await gateway.listen():
            sent = await served(Desk(gateway.socket, "small"), "text/event-stream", body)
            await asyncio.wait_for(gateway.heard.wait(), 10)
        assert gateway.told == [f"/settlements?id={NUMBER}&in=3&out=4&by=small"]
        assert b"x-usage" not in headers_of(sent[0])

    asyncio.run(run())


async def seen() -> Watched:
    """An answer of one word, whole."""

    async def chunks() -> AsyncGenerator[Chunk]:
        yield {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}

    one = Watched(Usage(), streams=False)
    async for _ in one.chunks(chunks()):
        pass
    return one


def test_what_an_answer_was_like_is_told_with_what_it_has_used(tmp_path: Path) -> None:
    async def run() -> None:
        gateway, watched = Gateway(tmp_path / "desk"), await seen()
        desk, word = Desk(gateway.socket, "small"), str(watched.answer)
        async with await gateway.listen():
            told = [
                headers_of((await served(desk, "application/json", [b"{}"], watched=watched,
                                         status=status))[0])
                for status in (200, 500)
            ]  # fmt: skip
            await served(desk, "text/event-stream", [b"data: [DONE]\n\n"], watched=watched)
        assert [one.get(b"x-answer") for one in told] == [word.encode(), None]
        asked = f"/settlements?id={NUMBER}&in=3&out=4&by=small&answer={word}"
        assert Answer.parse(word) and gateway.told == [asked]

    asyncio.run(run())


def test_a_whole_answer_tells_in_its_head_and_to_nobody_else(tmp_path: Path) -> None:
    async def run() -> None:
        gateway = Gateway(tmp_path / "desk")
        async with await gateway.listen():
            sent = await served(Desk(gateway.socket, "small"), "application/json", [b"{}"])
        assert gateway.told == []
        assert headers_of(sent[0])[b"x-usage"] == b"- -"  # all that was known by then

    asyncio.run(run())


def test_who_is_not_asked_through_the_gateway_tells_nothing(tmp_path: Path) -> None:
    for header in ("", "x", NUMBER.upper()):
        sent = asyncio.run(served(Desk(None, "small"), "application/json", [b"{}"], header))
        assert b"x-usage" not in headers_of(sent[0])


def test_without_a_desk_a_whole_answer_tells_in_its_head_and_a_stream_nothing(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        gateway = Gateway(tmp_path / "desk")
        desk = Desk(gateway.socket, "small")  # which another gateway may have had
        async with await gateway.listen():
            sent = await served(desk, "application/json", [b"{}"], header="-")
            assert headers_of(sent[0])[b"x-usage"] == b"- -"
            for body in ([b"data: [DONE]\n\n"], []):
                await served(desk, "text/event-stream", body, header="-")
            await desk.close()
        assert gateway.told == []

    asyncio.run(run())


def test_a_copy_of_a_request_settles_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        gateway = Gateway(tmp_path / "desk")
        desk = Desk(gateway.socket, "small")
        async with await gateway.listen():
            for kind in ("application/json", "text/event-stream"):
                sent = await served(desk, kind, [], path="/shadow/")
                assert b"x-usage" not in headers_of(sent[0])
            await desk.close()
        assert gateway.told == []

    asyncio.run(run())


def test_a_gateway_that_is_not_there_is_told_once_it_is(tmp_path: Path) -> None:
    async def run() -> None:
        gateway = Gateway(tmp_path / "desk")
        desk = Desk(gateway.socket, "small")
        await served(desk, "text/event-stream", [b"data: [DONE]\n\n"])
        assert gateway.told == []
        async with await gateway.listen():
            await asyncio.wait_for(gateway.heard.wait(), 10)
            await desk.close()
        assert len(gateway.told) == 1

    asyncio.run(run())
