"""The runtime `openai`, by itself: what a model elsewhere gets, and what comes of its answers.

Each of these is asked of a real HTTP server; see ``tests.provider``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest

from llmlab.config import Model
from llmlab.errors import AuthError, EnvironmentFailure
from llmlab.runtimes.base import AnsweredBy
from llmlab.runtimes.chat import BrokenOff, ChatFailure, Refused, Unreachable
from llmlab.runtimes.upstream import (
    Failed,
    Upstream,
    another_may_answer,
    client_of,
)
from llmlab.runtimes.wire import Wire
from llmlab.upstreams import keys
from tests.conftest import free_port
from tests.provider import EXCHANGES, FINGERPRINT, Provider, answer, events

KEY = "sk-test-4f1c9a77d2e84b0e"
CHAT: Literal["chat/completions"] = "chat/completions"
BODY = {"messages": [{"role": "user", "content": "Why a lamp?"}]}


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as one:
        yield one


def key_file(folder: Path, key: str = KEY) -> Path:
    file = folder / "provider.key"
    file.touch(0o600)
    file.write_text(key + "\n")
    return file


@asynccontextmanager
async def upstream(
    url: str, model: str = "hello", *, key: Path | None = None, patience: float = 5.0,
    noticed: Callable[[AnsweredBy], None] = lambda _: None, ca: Path | None = None, **more: Any,
) -> AsyncIterator[Upstream]:  # fmt: skip
    said = Model(runtime="openai", base_url=url, model=model, **more)
    one = Upstream(
        client_of(said, ca), name="far", model=said, patience=patience, noticed=noticed,
        key=keys.KeyFile(key, "far") if key else None,
    )  # fmt: skip
    try:
        yield one
    finally:
        await one.close()


def asked(url: str, model: str = "hello", **how: Any) -> dict[str, Any]:
    """A whole answer."""

    async def ask() -> dict[str, Any]:
        async with upstream(url, model, **how) as one:
            return await one.ask(CHAT, BODY)

    return asyncio.run(ask())


def streamed(url: str, model: str = "hello", **how: Any) -> list[dict[str, Any]]:
    """The chunks of an answer."""

    async def stream() -> list[dict[str, Any]]:
        async with upstream(url, model, **how) as one, one.stream(CHAT, BODY) as chunks:
            return [chunk async for chunk in chunks]

    return asyncio.run(stream())


def failure(work: Callable[[], object]) -> ChatFailure:
    with pytest.raises(ChatFailure) as caught:
        work()
    return caught.value


BOTH = pytest.mark.parametrize("ask", [asked, streamed], ids=["whole", "streamed"])


# --- what is passed on ---------------------------------------------------------------


def test_a_whole_answer_is_asked_for_as_one_and_comes_as_it_is(provider: Provider) -> None:
    assert asked(provider.url) == answer(EXCHANGES["hello"], {"model": "hello"})
    (request,) = provider.chats
    assert request.path == "/v1/chat/completions"
    assert request.body == {**BODY, "model": "hello"}


@pytest.mark.parametrize("name", ["hello", "pieces", "single-bytes", "all-at-once"])
def test_no_event_of_a_stream_is_lost_or_merged_however_it_is_cut(
    provider: Provider, name: str
) -> None:
    body = {"model": name, "stream_options": {"include_usage": True}}
    written = [one.removeprefix(b"data: ") for one in events(EXCHANGES[name], body)]
    assert streamed(provider.url, name) == [json.loads(one) for one in written[:-1]]


def test_usage_is_asked_for_in_every_stream(provider: Provider) -> None:
    assert streamed(provider.url)[-1]["usage"]["completion_tokens"] == 6
    assert provider.chats[0].body["stream_options"] == {"include_usage": True}


def test_it_gets_the_lab_s_key_and_the_configured_headers_and_nothing_else(
    provider: Provider, tmp_path: Path
) -> None:
    provider.key = KEY
    asked(provider.url, key=key_file(tmp_path), headers={"X-Team": "lighthouse"})
    headers = dict(provider.chats[0].headers)
    assert headers.pop("authorization") == f"Bearer {KEY}"
    assert headers.pop("x-team") == "lighthouse"
    assert headers.pop("user-agent").startswith("llmlab/")
    assert headers.keys() == {
        "host", "accept", "accept-encoding", "connection", "content-length", "content-type",
    }  # fmt: skip


async def given_back(one: Upstream) -> None:
    """The end of the last stream, which nobody reads any more, has come."""
    await asyncio.gather(*one.client._transport._lingering)  # type: ignore[attr-defined]


def test_a_connection_is_kept(provider: Provider) -> None:
    async def three() -> None:
        async with upstream(provider.url) as one:
            await one.ask(CHAT, BODY)
            async with one.stream(CHAT, BODY) as chunks:
                assert [chunk async for chunk in chunks]
            await given_back(one)
            await one.ask(CHAT, BODY)

    asyncio.run(three())
    assert (len(provider.chats), provider.connections) == (3, 1)


def test_512_streams_go_at_once_and_none_waits_for_another(provider: Provider) -> None:
    async def all_of_them() -> float:
        async with upstream(provider.url, "hundred", patience=30) as one:

            async def words() -> int:
                async with one.stream(CHAT, BODY) as chunks:
                    return len([chunk async for chunk in chunks])

            start = time.monotonic()
            counts = await asyncio.gather(*(words() for _ in range(512)))
            assert set(counts) == {103}
            return time.monotonic() - start

    seconds = asyncio.run(all_of_them())
    assert provider.connections == 512
    assert seconds < 60


# --- asked exactly once ----------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("name", ["broken", "overloaded", "too-many", "silent"])
def test_what_it_has_received_is_never_sent_again(
    provider: Provider, ask: Callable[..., object], name: str
) -> None:
    failure(lambda: ask(provider.url, name))
    assert len(provider.chats) == 1


@BOTH
def test_what_never_reached_it_is_sent_again(ask: Callable[..., object]) -> None:
    provider = Provider()
    provider.port = free_port()
    url = f"http://127.0.0.1:{provider.port}/v1"

    async def late() -> None:
        loop, refused = asyncio.get_running_loop(), asyncio.Event()
        connect = loop.create_connection

        async def told(*args: Any, **named: Any) -> Any:
            try:
                return await connect(*args, **named)
            except OSError:
                refused.set()
                raise

        loop.create_connection = told  # type: ignore[method-assign]
        async with upstream(url) as one:
            work = asyncio.create_task(one.ask(CHAT, BODY))
            await refused.wait()
            with provider:
                assert (await work)["choices"]
                assert len(provider.chats) == 1

    del ask
    asyncio.run(late())


@BOTH
def test_who_cannot_be_reached_is_said_to_be(ask: Callable[..., object]) -> None:
    said = failure(lambda: ask(f"http://127.0.0.1:{free_port()}/v1"))
    assert isinstance(said, Unreachable)
    assert said.message.startswith("far cannot be reached: ")
    assert another_may_answer(said)


@BOTH
def test_a_name_that_nobody_has_is_never_reached(ask: Callable[..., object]) -> None:
    assert isinstance(failure(lambda: ask("http://nowhere.invalid/v1")), Unreachable)


def test_a_connection_that_it_has_closed_is_not_used_again() -> None:
    provider = Provider()

    async def twice() -> None:
        async with upstream(url) as one:
            await one.ask(CHAT, BODY)
            provider.__exit__()
            provider.__enter__()
            await one.ask(CHAT, BODY)

    with provider:
        url = provider.url
        asyncio.run(twice())
    assert len(provider.chats) == 2


# --- TLS and redirects -------------------------------------------------------------------


@BOTH
def test_a_certificate_that_nobody_vouches_for_is_refused(
    ask: Callable[..., object], tmp_path: Path
) -> None:
    with Provider(tls=tmp_path, key=KEY) as provider:
        said = failure(lambda: ask(provider.url, key=key_file(tmp_path)))
        assert isinstance(said, Unreachable)
        assert "its certificate cannot be trusted: self-signed certificate" in said.message
        assert not provider.asked
        assert ask(provider.url, key=key_file(tmp_path), ca=provider.ca_file)
        (request,) = provider.chats
        assert request.headers["authorization"] == f"Bearer {KEY}"


def test_a_file_that_holds_no_certificates_is_said_to(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match="holds no certificates to trust"):
        asked("https://127.0.0.1:1/v1", ca=tmp_path / "none.pem")


@BOTH
def test_a_redirect_is_not_followed(provider: Provider, ask: Callable[..., object]) -> None:
    said = failure(lambda: ask(provider.url, "moved"))
    assert isinstance(said, Failed)
    assert (said.status, len(provider.asked)) == (502, 1)
    assert "redirects are not followed" in said.message
    assert not another_may_answer(said)


def test_proxies_of_the_environment_are_not_used(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert asked(provider.url)


# --- its complaints ------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("name", ["unauthorized", "forbidden"])
def test_that_the_lab_s_key_is_wrong_is_no_matter_of_the_client_s(
    provider: Provider, ask: Callable[..., object], name: str, tmp_path: Path
) -> None:
    said = failure(lambda: ask(provider.url, name, key=key_file(tmp_path)))
    assert isinstance(said, Failed)
    assert (said.status, said.code) == (502, "upstream_key")
    assert "refuses the key or the account of this lab" in said.message
    assert "sk-" not in said.message  # providers tell a part of it again
    assert not another_may_answer(said)


@BOTH
def test_too_many_requests_pass_with_the_time_to_wait(
    provider: Provider, ask: Callable[..., object]
) -> None:
    said = failure(lambda: ask(provider.url, "too-many"))
    assert isinstance(said, Refused)
    assert not isinstance(said, Failed)
    assert (said.status, said.retry_after, said.code) == (429, 7, "rate_limit_exceeded")
    assert not another_may_answer(said)


@BOTH
@pytest.mark.parametrize(("name", "after"), [("broken", None), ("overloaded", 11)])
def test_its_failures_are_a_bad_gateway(
    provider: Provider, ask: Callable[..., object], name: str, after: float | None
) -> None:
    said = failure(lambda: ask(provider.url, name))
    assert isinstance(said, Failed)
    assert (said.status, said.retry_after) == (502, after)
    assert another_may_answer(said)


def test_a_fault_of_the_request_is_told_as_it_is(provider: Provider) -> None:
    said = failure(lambda: asked(provider.url, "too-long"))
    assert isinstance(said, Refused)
    assert (said.status, said.code) == (400, "context_length_exceeded")
    assert not another_may_answer(said)


def test_a_model_that_it_does_not_have_is_a_mistake_of_the_lab(provider: Provider) -> None:
    said = failure(lambda: asked(provider.url, "missing"))
    assert isinstance(said, Failed)
    assert (said.status, said.code) == (502, "upstream_model")


def test_a_key_that_it_tells_again_is_cut_out(provider: Provider, tmp_path: Path) -> None:
    from tests import provider as module

    module.EXCHANGES["telling"] = module.failing(400, f"what is {KEY}?")
    said = failure(lambda: asked(provider.url, "telling", key=key_file(tmp_path)))
    assert said.message == "what is [key]?"
    assert KEY not in repr(said) + str(said.args)


@BOTH
def test_silence_is_given_up(provider: Provider, ask: Callable[..., object]) -> None:
    said = failure(lambda: ask(provider.url, "late", patience=0.3))
    assert isinstance(said, BrokenOff)
    assert another_may_answer(said)


def test_after_the_first_token_nobody_else_may_answer(provider: Provider) -> None:
    said = failure(lambda: streamed(provider.url, "cut"))
    assert isinstance(said, BrokenOff)
    assert said.begun
    assert not another_may_answer(said)
    before = failure(lambda: streamed(provider.url, "no-beginning"))
    assert another_may_answer(before)


def test_who_leaves_a_stream_ends_it(provider: Provider) -> None:
    async def leave() -> None:
        async with upstream(provider.url, "slow") as one:
            async with one.stream(CHAT, BODY) as chunks:
                async for _ in chunks:
                    break
            deadline = time.monotonic() + 5
            while not provider.gone:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)

    asyncio.run(leave())


def test_who_leaves_before_a_whole_answer_closes_its_connection(provider: Provider) -> None:
    async def leave() -> None:
        async with upstream(provider.url, "late") as one:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await one.ask(CHAT, BODY)
            assert not one.client._transport._idle  # type: ignore[attr-defined]

    asyncio.run(leave())


# --- what answers ----------------------------------------------------------------------------


@BOTH
def test_what_it_calls_itself_is_noticed_once_for_each_answer(
    provider: Provider, ask: Callable[..., object]
) -> None:
    seen: list[AnsweredBy] = []
    ask(provider.url, noticed=seen.append)
    ask(provider.url, "renamed", noticed=seen.append)
    assert seen == [
        AnsweredBy("hello", FINGERPRINT), AnsweredBy("llama-3.3-70b-0915", "fp_0000000001"),
    ]  # fmt: skip


def test_what_it_calls_itself_can_break_no_log_and_no_header() -> None:
    async def name() -> AnsweredBy:
        async with upstream("http://127.0.0.1:1/v1") as one:
            strange = {"model": "a\r\nSet-Cookie: x" + "b" * 500, "system_fingerprint": 7}
            return one.answered_by(strange)

    said = asyncio.run(name())
    assert "\n" not in said.model
    assert len(said.model) == 128
    assert said.fingerprint == ""


def test_how_many_tokens_a_text_has_is_an_estimate_from_above() -> None:
    async def count() -> tuple[int, int]:
        async with upstream("http://127.0.0.1:1/v1") as one:
            return one.count_text("A lamp lit at dusk."), one.count_text("灯台の灯り")

    english, japanese = asyncio.run(count())
    assert 6 <= english <= 12
    assert 5 <= japanese <= 12


# --- its key ------------------------------------------------------------------------------------


def test_a_key_that_was_replaced_is_taken_without_a_restart(
    provider: Provider, tmp_path: Path
) -> None:
    file = key_file(tmp_path, "sk-old")
    provider.key = KEY

    async def replaced() -> None:
        async with upstream(provider.url, key=file) as one:
            with pytest.raises(Failed):
                await one.ask(CHAT, BODY)
            key_file(tmp_path)
            assert (await one.ask(CHAT, BODY))["choices"]

    asyncio.run(replaced())


def test_a_key_that_is_gone_is_told_to_the_log_and_to_no_client(
    provider: Provider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = key_file(tmp_path)
    file.unlink()
    said = failure(lambda: asked(provider.url, key=file))
    assert isinstance(said, Failed)
    assert "cannot read its key" in said.message and str(tmp_path) not in said.message
    assert "the key of far is gone" in caplog.text
    assert not provider.asked


def opened(file: Path) -> None:
    file.chmod(0o644)


def replaced_by_an_open_one(file: Path) -> None:
    other = file.with_name("other")
    other.write_text("sk-other\n")
    other.chmod(0o640)
    other.rename(file)


@pytest.mark.parametrize("change", [opened, replaced_by_an_open_one])
def test_a_key_that_others_may_read_from_now_on_is_not_used_any_more(
    provider: Provider,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Path], None],
) -> None:
    file = key_file(tmp_path)

    async def changed() -> None:
        async with upstream(provider.url, key=file) as one:
            assert (await one.ask(CHAT, BODY))["choices"]
            change(file)
            with pytest.raises(Failed) as refused:
                await one.ask(CHAT, BODY)
            assert refused.value.code == "upstream_key"
            file.chmod(0o600)
            assert (await one.ask(CHAT, BODY))["choices"]

    asyncio.run(changed())
    assert "others can read it" in caplog.text
    assert len(provider.chats) == 2


def test_the_copy_that_only_a_container_has_says_nothing_by_its_mode(tmp_path: Path) -> None:
    file = key_file(tmp_path)
    file.chmod(0o644)
    assert keys.KeyFile(file, "far", mounted=True).current() == KEY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = key_file(tmp_path)
    file.chmod(mode)
    with pytest.raises(AuthError) as caught:
        keys.read(file, "far")
    assert caught.value.fix == f"chmod 600 {file}"
    file.chmod(0o400)
    assert keys.read(file, "far") == KEY


def test_a_key_that_is_somebody_else_s_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = key_file(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(AuthError, match="belongs to"):
        keys.read(file, "far")


@pytest.mark.parametrize("content", ["", "\n", "two words", "zwei\nzeilen", "schlüssel"])
def test_what_is_no_key_is_not_told_again(tmp_path: Path, content: str) -> None:
    file = key_file(tmp_path, content)
    with pytest.raises(AuthError) as caught:
        keys.read(file, "far")
    assert "holds no key" in caught.value.message
    assert not content.strip() or content.strip() not in caught.value.message


def test_a_key_is_in_no_log_of_the_client(
    provider: Provider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        asked(provider.url, key=key_file(tmp_path))
        failure(lambda: asked(provider.url, "unauthorized", key=key_file(tmp_path)))
    assert KEY not in caplog.text


# --- what a spoilt or wicked answer can do ----------------------------------------------


@contextmanager
def saying(*answers: bytes, closes: bool = False) -> Iterator[str]:
    """A server that sends the same bytes to each request, one piece for each connection's first.

    Args:
        closes: it ends each connection then.
    """
    server = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def serve() -> None:
        with suppress(OSError):
            for answer_ in answers:
                connection, _ = server.accept()
                taken.append(connection)
                connection.recv(65536)
                connection.sendall(answer_)
                if closes:
                    connection.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"
    finally:
        server.close()
        for one in taken:
            one.close()


def whole_answer(document: dict[str, Any], *headers: str) -> bytes:
    body = json.dumps(document).encode()
    head = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def test_what_comes_behind_an_answer_is_nobody_s_answer() -> None:
    twice = whole_answer({"who": "mine"}) + whole_answer({"who": "somebody's"})

    async def ask(url: str) -> list[str]:
        async with upstream(url) as one:
            return [(await one.ask(CHAT, BODY))["who"] for _ in range(2)]

    with saying(twice, whole_answer({"who": "mine, too"})) as url:
        assert asyncio.run(ask(url)) == ["mine", "mine, too"]


def test_what_comes_before_an_answer_is_passed_over() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    with saying(early + whole_answer({"who": "mine"})) as url:
        assert asked(url) == {"who": "mine"}


def test_an_answer_whose_length_nobody_knows_ends_with_its_connection() -> None:
    with saying(b'HTTP/1.1 200 OK\r\n\r\n{"who": "mine"}', closes=True) as url:
        assert asked(url) == {"who": "mine"}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "Expected HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
         "another protocol"),
        (b"HTTP/1.1 200 OK\r\nX-A: " + 100_000 * b"a", "the head .* more than 64 KiB"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-A: "
         + 1_000_000 * b"a", "the head .* more than 64 KiB"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n", "chunk size"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Length: 8\r\n\r\n{}", "Content-Length"),
    ],
    ids=["no HTTP", "another protocol", "a head without end", "a foot without end",
         "no chunk", "two lengths"],
)  # fmt: skip
def test_what_is_no_answer_breaks_off(said: bytes, why: str) -> None:
    with saying(said) as url, pytest.raises(BrokenOff, match=why):
        asked(url)


def test_an_answer_that_is_packed_is_not_unpacked() -> None:
    with (
        saying(whole_answer({"a": 1}, "Content-Encoding: gzip")) as url,
        pytest.raises(BrokenOff, match="is packed, which was not asked for"),
    ):
        asked(url)


@pytest.mark.parametrize("code", [401, "401", 403, 500, "invalid_api_key"])
def test_a_refusal_within_a_stream_tells_nothing_of_the_lab_s_key(
    tmp_path: Path, code: int | str
) -> None:
    error = {"code": code, "message": f"Incorrect API key provided: {KEY}", "param": KEY}
    event = b"data: " + json.dumps({"error": error}).encode() + b"\n\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"

    async def read(url: str) -> None:
        async with upstream(url, key=key_file(tmp_path)) as one, one.stream(CHAT, BODY) as chunks:
            async for _ in chunks:
                pass

    with saying(head + event) as url, pytest.raises(Refused) as raised:
        asyncio.run(read(url))
    told = (str(raised.value), raised.value.message, raised.value.code, raised.value.param)
    assert KEY not in " ".join(told)


class Lingering:
    """A connection whose answer came whole while somebody else was closing it."""

    whole, ended, when_lost = False, False, None

    def is_open(self) -> bool:
        return True

    def can_go_on(self) -> bool:
        return self.whole

    def begin_anew(self) -> None: ...

    async def ends_within(self, seconds: float) -> bool:
        self.whole = True
        await asyncio.Event().wait()
        return True

    def end(self) -> None:
        self.ended = True


def test_who_is_closed_keeps_no_connection_that_its_end_came_for_just_then() -> None:
    one = Lingering()

    async def closed() -> None:
        wire = Wire(most=1, idle=60.0)
        wire.give_back(one)  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert one.whole
        await wire.aclose()
        assert one.ended

    asyncio.run(closed())


def test_who_is_closed_ends_what_somebody_still_reads(provider: Provider) -> None:
    """Or has forgotten: a stream that nobody has closed would hold its connection for good."""

    async def closed() -> None:
        wire = Wire(most=1, idle=60.0)
        client = httpx2.AsyncClient(transport=wire)
        request = client.build_request("GET", f"{provider.url}/models")
        answer = await client.send(request, stream=True)
        (connection,) = wire._used
        assert connection.is_open()
        await client.aclose()
        assert not connection.is_open()
        await answer.aclose()  # late, and it is not kept either
        assert not wire._used and not wire._idle

    asyncio.run(closed())
