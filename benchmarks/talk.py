"""The load generator for chat, a process of its own and the same for every system. So many clients,
each on a connection of its own, ask, read their answer, and ask again. A job comes on stdin, what
happened goes to stdout, both as JSON.

It takes as little of the processor as it can, which it shares with what it measures, and imports
next to nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import httptools
import uvloop

# What the provider writes into each of its events: which one it is, and when.
STAMP = re.compile(rb'"content":\s?"(\d{5}) ([\d.]{15}) ')
CONTENT = re.compile(rb'"(?:content|text)":\s?"[^"]')
WRITTEN = re.compile(rb'"completion_tokens":\s?(\d+)')
END = b"\n\n"


@dataclass(frozen=True)
class Task:
    """What is asked, and of whom.

    Args:
        host, port, uds: where; ``uds`` in the place of the first two.
        bodies: of the requests; they are used in turn.
        clients: at once.
        seconds: until nobody asks any more. 0: until each body was used once.
        rounds: requests of each client; 0 for as many as there is time for.
        gap: seconds that a client waits before it asks again.
        ramp: seconds in which the clients begin, one after the other.
        anew: whether each request has a connection of its own. llama.cpp ends those that are kept
            just when the next request comes.
    """

    bodies: list[str]
    clients: int = 1
    seconds: float = 0.0
    rounds: int = 0
    gap: float = 0.0
    ramp: float = 0.1
    anew: bool = False
    host: str = "127.0.0.1"
    port: int = 0
    uds: str = ""
    path: str = "/v1/chat/completions"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Answer:
    """One answer. Moments in seconds of the machine's monotonic clock.

    Args:
        status: 0 where the connection broke.
        first: when its first text came; 0 for none.
        tokens: that it says it has.
        stamps: of the provider's events: (which one, when it was sent, when it came).
        done: whether a stream ended as one should.
    """

    start: float
    end: float = 0.0
    status: int = 0
    first: float = 0.0
    tokens: int = 0
    done: bool = False
    stamps: list[tuple[int, float, float]] = field(default_factory=list)


class Client(asyncio.Protocol):
    """Who asks, over a connection that is made anew where the server ends it.

    Args:
        connect: makes a connection, given what is told of it.
        next_request: gives the bytes of the next request; b"" for none.
        gap, anew: as of a task.
    """

    def __init__(
        self,
        connect: Callable[[Callable[[], Client]], Awaitable[object]],
        next_request: Callable[[], bytes],
        gap: float,
        anew: bool,
    ) -> None:
        self._connect, self._next_request = connect, next_request
        self._gap, self._anew = gap, anew
        self._transport: asyncio.Transport | None = None
        self._answer: Answer | None = None  # that is being waited for
        self._rest = b""
        self.answers: list[Answer] = []
        self.over = asyncio.Event()

    async def open(self) -> None:
        """Before the first request, whose time is not that of a connection."""
        await self._connect(lambda: self)

    def ask(self) -> None:
        """Until there is no further request."""
        self._asking = asyncio.ensure_future(self._ask())

    async def _ask(self) -> None:
        request = self._next_request()
        if not request:
            if self._transport:
                self._transport.close()
            self.over.set()
            return
        self._answer, self._rest = Answer(time.monotonic()), b""
        self.answers.append(self._answer)
        try:
            if self._transport is None:
                await self.open()
        except OSError:
            self._end()
            return
        assert self._transport
        # One that has read an answer to its end takes the beginning of the next one for an error.
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)

    def _end(self) -> None:
        """Of an answer, such as it is; and on to the next one."""
        assert self._answer
        self._answer.end, self._answer = time.monotonic(), None
        asyncio.get_running_loop().call_later(self._gap, self.ask)

    # --- what comes ------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        if self._answer:
            self._end()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if self._transport:
                self._transport.abort()

    def on_body(self, part: bytes) -> None:
        now = time.monotonic()
        *events, self._rest = (self._rest + part).split(END)
        for event in events:
            self._event(event, now)

    def _event(self, event: bytes, now: float) -> None:
        answer = self._answer
        assert answer
        if not answer.first and CONTENT.search(event):
            answer.first = now
        if stamp := STAMP.search(event):
            answer.stamps.append((int(stamp[1]), float(stamp[2]), now))
        elif event.endswith(b"[DONE]"):
            answer.done = True
        elif usage := WRITTEN.search(event):
            answer.tokens = int(usage[1])

    def on_message_complete(self) -> None:
        assert self._answer
        self._answer.status = self._parser.get_status_code()
        if usage := WRITTEN.search(self._rest):  # of a document
            self._answer.tokens = int(usage[1])
        if (self._anew or not self._parser.should_keep_alive()) and self._transport:
            self._transport.abort()
            self._transport = None
        self._end()


async def run(task: Task) -> list[Answer]:
    loop = asyncio.get_running_loop()
    begin = time.monotonic()
    bodies = itertools.cycle(task.bodies) if task.seconds or task.rounds else iter(task.bodies)
    headers = {"Host": "localhost", "Content-Type": "application/json", **task.headers}
    head = f"POST {task.path} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())

    def connect(told: Callable[[], Client]) -> Awaitable[object]:
        if task.uds:
            return loop.create_unix_connection(told, task.uds)
        return loop.create_connection(told, task.host, task.port)

    def requests() -> Callable[[], bytes]:
        left = itertools.count(1)

        def another() -> bytes:
            if task.rounds and next(left) > task.rounds:
                return b""
            if task.seconds and time.monotonic() > begin + task.seconds:
                return b""
            body = next(bodies, "").encode()
            return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body if body else b""

        return another

    clients = [Client(connect, requests(), task.gap, task.anew) for _ in range(task.clients)]
    for client in clients:
        await client.open()
    for number, client in enumerate(clients):
        loop.call_later(task.ramp * number / task.clients, client.ask)
    for client in clients:
        await client.over.wait()
    return [answer for client in clients for answer in client.answers]


def main() -> None:
    task = Task(**json.load(sys.stdin))
    json.dump([asdict(one) for one in uvloop.run(run(task))], sys.stdout)


if __name__ == "__main__":
    main()
