"""HTTP/1.1 to one server, over connections that are kept: what a model's server is asked by.

In the place of httpx's own transport, whose pool looks at all of its connections, each by a system
call, before and after every request: half a millisecond with 64 of them, and four with 512. This
one takes the connection that was used last. And it knows whether anything of a request was sent:
only what fails before that is a ``ConnectError`` or a ``ConnectTimeout``.

It follows no redirect, knows no proxy and keeps no cookie.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, cast

import httptools
import httpx2

LARGEST_HEAD = 64 << 10  # bytes of an answer's head
LINGER = 0.1  # seconds
FULL = 1 << 20  # bytes that wait to be read; then the server has to wait, too


class Wire(httpx2.AsyncBaseTransport):
    """
    Args:
        most: connections at once; further requests wait.
        idle: seconds for which a connection is kept that nobody uses; 0 = each is made anew.
        trusted: by what certificates an https server is known.
        uds: the unix socket where it listens, whatever the address says.
    """

    def __init__(
        self, *, most: int, idle: float, trusted: ssl.SSLContext | None = None, uds: str = ""
    ) -> None:
        self._trusted, self._idle_for, self._uds = trusted, idle, uds
        self._free = asyncio.Semaphore(most)
        self._idle: dict[Connection, float] = {}  # since when; the one that was used last is last
        self._lingering: set[asyncio.Task[None]] = set()
        self._used: set[Connection] = set()  # by somebody, or lingering
        self._closed = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        patience: dict[str, float | None] = request.extensions.get("timeout", {})
        await self._free.acquire()
        connection: Connection | None = None
        try:
            connection = self._kept() or await self._connected(request.url, patience)
            self._used.add(connection)
            head = await connection.ask(request, patience.get("read"))
            answer = _Answer(self, connection, patience.get("read"))
        except BaseException:
            self.give_back(connection)
            raise
        return httpx2.Response(
            head.status, headers=head.headers, stream=answer,
            extensions={"http_version": b"HTTP/1.1"},
        )  # fmt: skip

    def give_back(self, connection: Connection | None) -> None:
        """Keep a connection whose answer was read to its end, and end any other one.

        Whoever reads a stream is done with its last event, and the end of the answer may be still
        on its way: that is waited for, by nobody, for a moment.
        """
        if connection is None or not connection.is_open() or connection.can_go_on():
            self._let_go(connection)
        else:
            task = asyncio.get_running_loop().create_task(self._linger(connection))
            self._lingering.add(task)
            task.add_done_callback(self._lingering.discard)

    async def _linger(self, connection: Connection) -> None:
        try:
            async with asyncio.timeout(LINGER):
                if not await connection.ends_within(LINGER):
                    connection.end()
        except TimeoutError:  # it says a little again and again
            connection.end()
        finally:
            self._let_go(connection)

    def _let_go(self, connection: Connection | None) -> None:
        self._free.release()
        if connection is None:
            return
        self._used.discard(connection)
        if self._idle_for and not self._closed and connection.can_go_on():
            connection.begin_anew()
            self._idle[connection] = asyncio.get_running_loop().time()
            connection.when_lost = lambda: self._idle.pop(connection, None)
        else:
            connection.end()

    def _kept(self) -> Connection | None:
        oldest = asyncio.get_running_loop().time() - self._idle_for
        while self._idle:
            connection, since = self._idle.popitem()
            if since >= oldest and connection.is_quiet():
                return connection
            connection.end()
        return None

    async def _connected(self, url: httpx2.URL, patience: dict[str, float | None]) -> Connection:
        loop = asyncio.get_running_loop()
        tls: dict[str, Any] = {}
        if url.scheme == "https":
            assert self._trusted
            tls = {"ssl": self._trusted, "server_hostname": url.host}
        port = url.port or (443 if tls else 80)
        try:
            async with asyncio.timeout(patience.get("connect")):
                if self._uds:
                    made = await loop.create_unix_connection(Connection, self._uds)
                else:
                    made = await loop.create_connection(Connection, url.host, port, **tls)
        except TimeoutError as error:
            raise httpx2.ConnectTimeout("no connection in time") from error
        except OSError as error:  # of names and of TLS as well
            raise httpx2.ConnectError(_reason(error)) from error
        return made[1]

    async def aclose(self) -> None:
        """End all connections, also those of answers that somebody still reads or has forgotten."""
        self._closed = True
        for task in self._lingering:
            task.cancel()
        await asyncio.gather(*self._lingering, return_exceptions=True)
        for connection in (*self._used, *self._idle):
            connection.end()
        self._used.clear()
        self._idle.clear()


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


class _Answer(httpx2.AsyncByteStream):
    def __init__(self, wire: Wire, connection: Connection, patience: float | None) -> None:
        self._wire, self._connection, self._patience = wire, connection, patience
        self._given_back = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while part := await self._connection.part(self._patience):
            yield part
        await self.aclose()

    async def aclose(self) -> None:
        if not self._given_back:
            self._given_back = True
            self._wire.give_back(self._connection)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate cannot be trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    return error.strerror or str(error) or type(error).__name__
