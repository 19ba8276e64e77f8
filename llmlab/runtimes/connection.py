"""A connection of a wire to a model's server: one request at a time, its answer part by part."""

from __future__ import annotations

import asyncio
import select
from typing import Any, NamedTuple, cast

import httptools
import httpx2

LARGEST_HEAD = 64 << 10  # bytes of an answer's head
FULL = 1 << 20  # bytes that wait to be read; then the server has to wait, too


class Head(NamedTuple):
    """Of an answer."""

    status: int
    headers: list[tuple[bytes, bytes]]


class Connection(asyncio.Protocol):
    """One request at a time, and its answer part by part."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._waiting: asyncio.Future[None] | None = None
        self._open = True
        self._paused = False
        self._broken = ""  # why nothing more of an answer can be read
        self.when_lost: Any = None
        self.begin_anew()

    def begin_anew(self) -> None:
        """For the next request."""
        self._parser = httptools.HttpResponseParser(self)
        self._asked = self._whole = self._goes_on = False
        self._headers: list[tuple[bytes, bytes]] = []
        self._head: Head | None = None
        self._unread = 0  # bytes since the last part: of its head, or of what is behind its parts
        self._parts: list[bytes] = []
        self._buffered = 0

    # --- what the loop tells -------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit from it

    def data_received(self, data: bytes) -> None:
        if not self._asked or self._whole:  # nobody has asked, or for no more than that
            self._lost()
            self._transport.abort()
            return
        self._unread += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._broken = str(error) or "its answer is no HTTP"
        except httptools.HttpParserUpgrade:
            self._broken = "it changes to another protocol"
        if self._unread > LARGEST_HEAD and not self._whole:
            self._broken = f"the head of its answer has more than {LARGEST_HEAD >> 10} KiB"
        if self._buffered > FULL:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self._lost()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost()

    def _lost(self) -> None:
        if self._open:
            self._open = False
            # Where nothing says how long an answer is, its end is that of the connection.
            self._whole = self._whole or (self._head is not None and not _has_an_end(self._head))
            if self.when_lost:
                self.when_lost()
            self._wake()

    def _wake(self) -> None:
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(None)

    # --- what the parser tells -----------------------------------------------------

    def on_message_begin(self) -> None:
        if self._whole:
            raise ValueError("something comes behind its answer")  # which ends the reading

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head:  # else it stands behind the body
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:  # else the answer is still to come
            self._head = Head(status, self._headers)
        self._headers = []

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)
        self._buffered += len(part)
        self._unread = 0

    def on_message_complete(self) -> None:
        if self._head:
            self._whole, self._goes_on = True, self._parser.should_keep_alive()

    # --- asking --------------------------------------------------------------------

    def is_open(self) -> bool:
        return self._open and not self._transport.is_closing()

    def is_quiet(self) -> bool:
        """Whether it is open and nobody has said anything: not even its end, which may be on this
        machine already and not have been told yet."""
        if not self.is_open():  # its socket may be gone
            return False
        seen = select.poll()
        seen.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not seen.poll(0)

    def can_go_on(self) -> bool:
        """Whether it may have another request: its last answer came whole, it stays open, and
        nothing came behind that answer, which would be taken for the next one."""
        return self._whole and self._goes_on and not self._broken and self.is_open()

    async def ends_within(self, seconds: float) -> bool:
        """Whether nothing but the end of its answer comes, and that in time."""
        try:
            return not await self.part(seconds)
        except httpx2.TransportError:
            return False

    def end(self) -> None:
        self._transport.abort()

    async def ask(self, request: httpx2.Request, patience: float | None) -> Head:
        """Send a request; gives the head of its answer.

        Raises:
            httpx2.TransportError: there is none.
        """
        self.when_lost = None
        content = await request.aread()
        first = f"{request.method} ".encode() + request.url.raw_path + b" HTTP/1.1"
        lines = [first, *(name + b": " + value for name, value in request.headers.raw), b"", b""]
        head = b"\r\n".join(lines)
        if not head.count(b"\r") == head.count(b"\n") == len(lines) - 1:
            raise httpx2.LocalProtocolError("a header has a line break")
        self._asked = True
        self._transport.write(head + content)
        while not self._head:
            await self._more(patience)
        return self._head

    async def part(self, patience: float | None) -> bytes:
        """The next part of the answer; b"" at its end.

        Args:
            patience: seconds for it to come; None for ever.

        Raises:
            httpx2.TransportError: it does not.
        """
        while not self._parts:
            if self._whole:
                return b""
            await self._more(patience)
        part = b"".join(self._parts)
        self._parts.clear()
        self._buffered = 0
        return part

    async def _more(self, patience: float | None) -> None:
        """Until something came."""
        if self._broken:
            raise httpx2.RemoteProtocolError(self._broken)
        if not self._open:
            raise httpx2.RemoteProtocolError("it closed the connection too early")
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        loop = asyncio.get_running_loop()
        self._waiting = waiting = loop.create_future()
        # Of a stream there are thousands a second; asyncio.timeout() costs four times as much.
        timer = loop.call_later(patience, _too_late, waiting) if patience is not None else None
        try:
            await waiting
        finally:
            self._waiting = None
            if timer:
                timer.cancel()


def _too_late(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_exception(httpx2.ReadTimeout("no answer in time"))


def _has_an_end(head: Head) -> bool:
    """Whether it says where the answer behind it ends."""
    names = {name.lower() for name, _ in head.headers}
    return not names.isdisjoint((b"content-length", b"transfer-encoding"))
