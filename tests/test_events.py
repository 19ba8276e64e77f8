"""A summary that comes as events: what a client makes of a stream, and the gateway of a break."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from llmlab.client import AsyncClient, Client, Progress, RetryPolicy, Summary
from llmlab.client.bounds import LONGEST_ANSWER
from llmlab.errors import AuthError, UpstreamError, UsageError
from llmlab.gateway import Upstream
from tests.http_server import Ending, Server
from tests.test_gateway import echo_gateway

USAGE = {"input_tokens": 99, "output_tokens": 1, "windows": 3, "truncated": False}
DOCUMENT = {
    "summary": "Short.", "model": {"name": "m", "id": "sha256:0", "runtime": "extractive"},
    "usage": USAGE,
}  # fmt: skip


def event(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def at(done: int, windows: int = 3, reading: int = 1) -> bytes:
    return event("progress", {"done": done, "windows": windows, "reading": reading})


PROBLEM = {"type": "about:blank", "title": "T", "detail": "It went wrong.", "request_id": "r-1"}


def problem(status: int) -> bytes:
    return event("problem", {**PROBLEM, "status": status})


SUMMARY = event("summary", DOCUMENT)


# --- A server that streams what it is told --------------------------------------------


@dataclass
class Script:
    """One response. It is cut off unless it ``ends``."""

    parts: Iterable[bytes]
    kind: str = "text/event-stream; charset=utf-8"
    status: int = 200
    ends: bool = True


@dataclass
class Service:
    """Answers with one script after the other, and then with a summary."""

    scripts: list[Script] = field(default_factory=list)
    url: str = ""
    heard: list[dict[str, str]] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)  # their ports

    def next(self, headers: dict[str, str]) -> Script:
        self.heard.append(headers)
        return self.scripts.pop(0) if self.scripts else Script([SUMMARY])


class Streaming(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StreamingServer

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.service.connections.add(self.client_address[1])
        script = self.server.service.next({k.lower(): v for k, v in self.headers.items()})
        self.send_response(script.status)
        self.send_header("Content-Type", script.kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("X-Request-ID", "r-1")
        self.send_header("X-Deployment", "tuned-2")
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            for part in script.parts:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            if script.ends:
                self.wfile.write(b"0\r\n\r\n")
        self.close_connection = not script.ends

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class StreamingServer(Server):
    def __init__(self, service: Service) -> None:
        self.service = service
        super().__init__(("127.0.0.1", 0), Streaming)
        service.url = f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def service() -> Iterator[Service]:
    told = Service()
    with StreamingServer(told) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield told
        server.shutdown()


Tell = Callable[[Progress], None]
FAST = RetryPolicy(5)


def ask(service: Service, tell: Tell | None, timeout: float = 20) -> Summary:
    with Client(service.url, "t", timeout=timeout, retry=FAST) as client:
        return client.summarize("A text.", progress=tell)


def ask_async(service: Service, tell: Tell | None, timeout: float = 20) -> Summary:
    async def asking() -> Summary:
        async with AsyncClient(service.url, "t", timeout=timeout, retry=FAST) as client:
            return await client.summarize("A text.", progress=tell)

    return asyncio.run(asking())


Ask = Callable[..., Summary]
both = pytest.mark.parametrize("ask", [ask, ask_async], ids=["Client", "AsyncClient"])


# --- What is asked for ----------------------------------------------------------------


@both
def test_who_wants_to_hear_of_progress_asks_for_events_and_others_do_not(
    service: Service, ask: Ask
) -> None:
    service.scripts = [
        Script([SUMMARY]),
        Script([json.dumps(DOCUMENT).encode()], "application/json"),
    ]
    assert ask(service, lambda _: None).text == ask(service, None).text == "Short."
    with_events, without = service.heard
    assert with_events["accept"] == "text/event-stream"
    assert "event-stream" not in without["accept"]


@both
@pytest.mark.parametrize("timeout", [20, 0.25, 1234567.0])
def test_the_service_is_told_how_long_the_client_waits(
    service: Service, ask: Ask, timeout: float
) -> None:
    ask(service, lambda _: None, timeout)
    assert float(service.heard[0]["x-request-timeout"]) == timeout


# --- What is heard --------------------------------------------------------------------


@both
def test_progress_is_told_as_it_comes_and_the_summary_is_the_answer(
    service: Service, ask: Ask
) -> None:
    release = threading.Event()

    def parts() -> Iterator[bytes]:
        yield at(0)
        assert release.wait(20), "the first event was told before there was a second one"
        yield at(1) + at(3)
        yield at(0, 1, reading=2) + SUMMARY

    told: list[Progress] = []

    def tell(progress: Progress) -> None:
        told.append(progress)
        release.set()

    service.scripts = [Script(parts())]
    summary = ask(service, tell)
    assert [(one.done, one.windows, one.reading) for one in told] == [
        (0, 3, 1), (1, 3, 1), (3, 3, 1), (0, 1, 2),
    ]  # fmt: skip
    assert summary.text == "Short."
    assert summary.usage.model_dump() == USAGE
    assert (summary.request_id, summary.deployment) == ("r-1", "tuned-2")


STREAMS = {
    "CR LF": (at(1) + SUMMARY).replace(b"\n", b"\r\n"),
    "CR": (at(1) + SUMMARY).replace(b"\n", b"\r"),
    "comments": b": hello\n\n" + at(1).replace(b"event", b":\n: still here\nevent") + SUMMARY,
    "data in several lines": at(1).replace(b', "windows"', b',\ndata: "windows"') + SUMMARY,
    "no space, data first, other fields": b"retry:5\nid:7\ndata:"
    + json.dumps({"done": 1, "windows": 3, "reading": 1}).encode()
    + b"\nevent:progress\n\n"
    + SUMMARY,
}


@both
@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_events_may_be_written_and_cut_up_in_any_way_that_the_standard_knows(
    service: Service, ask: Ask, stream: bytes, size: int
) -> None:
    told: list[Progress] = []
    service.scripts = [Script([stream[i : i + size] for i in range(0, len(stream), size)])]
    assert ask(service, told.append).text == "Short."
    assert told == [Progress(done=1, windows=3, reading=1)]


@both
def test_letters_beyond_ascii_may_be_cut_in_the_middle(service: Service, ask: Ask) -> None:
    text = json.dumps(DOCUMENT | {"summary": "Kürzer 🗼"}, ensure_ascii=False).encode()
    stream = b"event: summary\ndata: " + text + b"\n\n"
    service.scripts = [Script([bytes([one]) for one in stream])]
    assert ask(service, lambda _: None).text == "Kürzer 🗼"


@both
def test_a_document_is_an_answer_to_a_client_that_would_have_liked_events(
    service: Service, ask: Ask
) -> None:
    service.scripts = [Script([json.dumps(DOCUMENT).encode()], "application/json")]
    assert ask(service, lambda _: None).text == "Short."


def test_after_a_stream_its_connection_is_used_again(service: Service) -> None:
    async def twice() -> None:
        async with AsyncClient(service.url, "t") as client:
            for _ in range(2):
                await client.summarize("A text.", progress=lambda _: None)

    asyncio.run(twice())
    with Client(service.url, "t") as client:
        for _ in range(2):
            client.summarize("A text.", progress=lambda _: None)
    assert len(service.heard) == 4
    assert len(service.connections) == 2


# --- When it ends otherwise -----------------------------------------------------------


@both
@pytest.mark.parametrize("ends", [True, False], ids=["ended", "cut off"])
@pytest.mark.parametrize(
    "parts", [[at(0)], [at(0), at(1)], [at(0), SUMMARY[:-1]]], ids=["0", "1", "in the summary"]
)
def test_a_stream_that_ends_early_is_an_error_and_is_not_asked_for_again(
    service: Service, ask: Ask, parts: list[bytes], ends: bool
) -> None:
    service.scripts = [Script(parts, ends=ends)]
    with pytest.raises(UpstreamError, match=f"{service.url} broke off its answer"):
        ask(service, lambda _: None)
    assert len(service.heard) == 1


@both
def test_a_stream_that_is_cut_off_before_its_first_event_is_asked_for_again(
    service: Service, ask: Ask
) -> None:
    service.scripts = [Script([], ends=False), Script([b": not an event\n"], ends=False)]
    assert ask(service, lambda _: None).text == "Short."
    assert len(service.heard) == 3


@both
@pytest.mark.parametrize("status", [429, 502, 503])
def test_a_refusal_before_the_stream_is_asked_again_as_without_events(
    service: Service, ask: Ask, status: int
) -> None:
    refusal = Script([b'{"detail": "later"}'], "application/problem+json", status)
    service.scripts = [refusal]
    assert ask(service, lambda _: None).text == "Short."
    assert len(service.heard) == 2


@both
@pytest.mark.parametrize(
    ("status", "error"),
    [(422, UsageError), (401, AuthError), (500, UpstreamError), (503, UpstreamError),
     (504, UpstreamError)],
)  # fmt: skip
def test_a_problem_in_a_stream_is_the_error_of_its_status_and_final(
    service: Service, ask: Ask, status: int, error: type[Exception]
) -> None:
    service.scripts = [Script([at(0), problem(status)])]
    with pytest.raises(error, match=rf"{status}: It went wrong\. \(request r-1\)"):
        ask(service, lambda _: None)
    assert len(service.heard) == 1


@both
def test_a_summary_that_has_come_is_not_lost_by_what_follows(service: Service, ask: Ask) -> None:
    for script in (Script([SUMMARY], ends=False), Script([SUMMARY, at(1)]), Script([SUMMARY * 2])):
        service.scripts = [script]
        assert ask(service, lambda _: None).text == "Short."


BAD = {
    "another event": event("token", {}),
    "no name": b"data: {}\n\n",
    "progress that is no JSON": b"event: progress\ndata: soon\n\n",
    "progress without data": b"event: progress\n\n",
    "a number as text": event("progress", {"done": "1", "windows": 3, "reading": 1}),
    "more done than there is": at(4),
    "less than nothing": at(-1),
    "no windows": at(0, windows=0),
    "a summary of another shape": event("summary", {"summary": 5}),
    "a problem without a status": event("problem", {"detail": "?"}),
    "a problem that is none": problem(200),
    "an event without end": b"event: progress\ndata: " + b"x" * (1 << 20),
    "a line without end": b"x" * (2 << 20),
}


@both
@pytest.mark.parametrize("stream", BAD.values(), ids=BAD)
def test_what_no_lab_would_say_is_an_error(service: Service, ask: Ask, stream: bytes) -> None:
    service.scripts = [Script([stream, SUMMARY])]
    with pytest.raises(UpstreamError, match=f"{service.url} answered, but not like a lab"):
        ask(service, lambda _: None)
    assert len(service.heard) == 1


@pytest.mark.slow
@both
@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
def test_an_answer_without_end_is_given_up(service: Service, ask: Ask, kind: str) -> None:
    sent = itertools.count()
    endless = (b": nothing\n" * 10_000 for _ in sent)
    service.scripts = [Script(endless, kind)]
    with pytest.raises(UpstreamError, match="more than 8 MiB"):
        ask(service, lambda _: None)
    assert next(sent) * 100_000 < 4 * LONGEST_ANSWER


@both
@pytest.mark.parametrize("part", [at(1), b": still here\n\n", b"x"], ids=["event", "comment", "x"])
def test_a_stream_that_goes_on_and_on_is_given_up_at_the_timeout(
    service: Service, ask: Ask, part: bytes
) -> None:
    def drip() -> Iterator[bytes]:
        while True:
            time.sleep(0.05)
            yield part

    service.scripts = [Script(drip())]
    with pytest.raises(UpstreamError, match="did not answer in time"):
        ask(service, lambda _: None, 0.5)
    assert len(service.heard) == 1


@both
def test_an_error_of_the_listener_is_its_own(service: Service, ask: Ask) -> None:
    def tell(_: Progress) -> None:
        raise LookupError("mine")

    service.scripts = [Script([at(0), SUMMARY])]
    with pytest.raises(LookupError, match="mine"):
        ask(service, tell)
    assert len(service.heard) == 1


@both
def test_a_problem_before_any_news_is_worth_another_try_when_it_says(
    service: Service, ask: Ask
) -> None:
    """As it would have been without a stream."""
    busy = {**PROBLEM, "status": 429, "retry_after": 1}
    service.scripts = [Script([b": a comment\n\n", event("problem", busy)])]
    start = time.monotonic()
    assert ask(service, lambda _: None).text == "Short."
    assert time.monotonic() - start >= 1
    assert len(service.heard) == 2


# --- The gateway, when an API dies ----------------------------------------------------


class Dying(socketserver.BaseRequestHandler):
    """An API that answers a request in part, and ends."""

    server: DyingServer

    def handle(self) -> None:
        heard = b""
        while b"\r\n\r\n" not in heard:
            heard += self.request.recv(65_536)
        if b"/health" in heard:
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return
        self.server.asked += 1
        self.request.sendall(self.server.answer)
        self.server.waited.append(self.server.patience(20))
        self.server.shutdown()
        self.server.server_close()  # before the connection, as when a process ends


class DyingServer(Ending, socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, file: Path, answer: bytes) -> None:
        self.answer, self.asked = answer, 0
        self.patience: Callable[[float], bool] = lambda _: False  # before it hangs up
        self.waited: list[bool] = []
        super().__init__(str(file), Dying)


HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Accel-Buffering: no\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@contextlib.contextmanager
def dying_and_spare(folder: Path, answer: bytes) -> Iterator[tuple[int, str, list[DyingServer]]]:
    """A gateway in front of an API that breaks off, and of a spare that would answer."""
    whole = HEAD + chunk(at(0)) + chunk(SUMMARY) + b"0\r\n\r\n"
    with contextlib.ExitStack() as stack:
        servers = []
        for name, one in (("first", answer), ("spare", whole)):
            servers.append(stack.enter_context(DyingServer(folder / name, one)))
            threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
            stack.callback(servers[-1].shutdown)
        upstream = Upstream("echo", (f"unix:{folder / 'first'}",), (f"unix:{folder / 'spare'}",))
        gateway = stack.enter_context(echo_gateway(folder, upstreams=(upstream,)))
        yield gateway.port, gateway.forge.token(), servers


def test_a_request_is_not_sent_to_the_spare_once_its_first_event_was_passed_on(
    tmp_path: Path,
) -> None:
    told: list[Progress] = []
    with dying_and_spare(tmp_path, HEAD + chunk(at(0))) as (port, token, (first, spare)):
        with (
            Client(f"http://127.0.0.1:{port}", token, retry=FAST) as client,
            pytest.raises(UpstreamError, match="broke off its answer"),
        ):
            client.summarize("A text.", progress=told.append)
        assert (first.asked, spare.asked) == (1, 0)
    assert told == [Progress(done=0, windows=3, reading=1)]


def test_before_that_the_spare_answers_for_an_api_that_dies(tmp_path: Path) -> None:
    told: list[Progress] = []
    with dying_and_spare(tmp_path, b"") as (port, token, (first, spare)):
        with Client(f"http://127.0.0.1:{port}", token, retry=FAST) as client:
            assert client.summarize("A text.", progress=told.append).text == "Short."
        assert (first.asked, spare.asked) == (1, 1)
    assert len(told) == 1


def test_an_event_passes_the_gateway_at_once(tmp_path: Path) -> None:
    """Without waiting for more to come, or for the end."""
    came = threading.Event()
    with dying_and_spare(tmp_path, HEAD + chunk(at(0))) as (port, token, (first, _)):
        first.patience = came.wait
        with (
            Client(f"http://127.0.0.1:{port}", token, retry=FAST) as client,
            pytest.raises(UpstreamError, match="broke off its answer"),
        ):
            client.summarize("A text.", progress=lambda _: came.set())
        assert came.is_set()
    assert first.waited == [True]
