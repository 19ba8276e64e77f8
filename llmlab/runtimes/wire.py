"""HTTP/1.1 to one server, over connections that are kept: what a model elsewhere is asked by.

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
from typing import Any

import h11
import httpx2

LARGEST_HEAD = 64 << 10  # bytes of an answer's head
LINGER = 0.1  # seconds
FULL = 1 << 20  # bytes that wait to be read; then the server has to wait, too


class Wire(httpx2.AsyncBaseTransport):
    """
    Args:
        trusted: by what certificates an https server is known.
        most: connections at once; further requests wait.
        idle: seconds for which a connection is kept that nobody uses.
    """

    def __init__(self, trusted: ssl.SSLContext, *, most: int, idle: float) -> None:
        self._trusted, self._idle_for = trusted, idle
        self._free = asyncio.Semaphore(most)
        self._idle: dict[Connection, float] = {}  # since when; the one that was used last is last
        self._lingering: set[asyncio.Task[None]] = set()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        patience: dict[str, float | None] = request.extensions.get("timeout", {})
        await self._free.acquire()
        connection: Connection | None = None
        try:
            connection = self._kept() or await self._connected(request.url, patience)
            head = await connection.ask(request, patience.get("read"))
            answer = _Answer(self, connection, patience.get("read"))
        except BaseException:
            self.give_back(connection)
            raise
        return httpx2.Response(
            head.status_code, headers=list(head.headers), stream=answer,
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
            if not await connection.ends_within(LINGER):
                connection.end()
        finally:
            self._let_go(connection)

    def _let_go(self, connection: Connection | None) -> None:
        self._free.release()
        if connection is None:
            return
        if connection.can_go_on():
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
            tls = {"ssl": self._trusted, "server_hostname": url.host}
        port = url.port or (443 if tls else 80)
        try:
            async with asyncio.timeout(patience.get("connect")):
                _, connection = await loop.create_connection(Connection, url.host, port, **tls)
        except TimeoutError as error:
            raise httpx2.ConnectTimeout("no connection in time") from error
        except OSError as error:  # of names and of TLS as well
            raise httpx2.ConnectError(_reason(error)) from error
        return connection

    async def aclose(self) -> None:
        for task in self._lingering:
            task.cancel()
        while self._idle:
            self._idle.popitem()[0].end()


class Connection(asyncio.Protocol):
    """One request at a time, and its answer event by event."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=LARGEST_HEAD)
        self._transport: asyncio.Transport
        self._waiting: asyncio.Future[None] | None = None
        self._open = True
        self._paused = False
        self._buffered = 0
        self.when_lost: Any = None

    # --- what the loop tells -------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._http.our_state is h11.IDLE:  # nobody has asked
            self._lost()
            self._transport.abort()
            return
        self._http.receive_data(data)
        self._buffered += len(data)
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
            self._http.receive_data(b"")
            if self.when_lost:
                self.when_lost()
            self._wake()

    def _wake(self) -> None:
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(None)

    # --- asking --------------------------------------------------------------------

    def is_open(self) -> bool:
        return self._open and not self._transport.is_closing()

    def is_quiet(self) -> bool:
        """Whether it is open and nobody has said anything: not even its end, which may be on this
        machine already and not have been told yet."""
        seen = select.poll()
        seen.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return self.is_open() and not seen.poll(0)

    def can_go_on(self) -> bool:
        """Whether it may have another request: its last answer came whole, it stays open, and
        nothing came behind that answer, which would be taken for the next one."""
        done = self._http.our_state is h11.DONE and self._http.their_state is h11.DONE
        return done and not self._http.trailing_data[0] and self.is_open()

    def begin_anew(self) -> None:
        self._http.start_next_cycle()

    async def ends_within(self, seconds: float) -> bool:
        """Whether nothing but the end of its answer comes, and that in time."""
        try:
            return isinstance(await self.event(seconds), h11.EndOfMessage)
        except httpx2.TransportError:
            return False

    def end(self) -> None:
        self._transport.abort()

    async def ask(self, request: httpx2.Request, patience: float | None) -> h11.Response:
        """Send a request; gives the head of its answer.

        Raises:
            httpx2.TransportError: there is none.
        """
        self.when_lost = None
        content = await request.aread()
        http, url = self._http, request.url
        sent = http.send(
            h11.Request(method=request.method, target=url.raw_path, headers=request.headers.raw)
        )
        parts = [sent, http.send(h11.Data(content)) if content else b""]
        self._transport.writelines([one for one in parts if one])
        http.send(h11.EndOfMessage())
        while True:
            event = await self.event(patience)
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise httpx2.RemoteProtocolError("it closed the connection without an answer")

    async def event(self, patience: float | None) -> Any:
        """The next event of the answer.

        Args:
            patience: seconds for it to come; None for ever.

        Raises:
            httpx2.TransportError: it does not.
        """
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                why = "it closed the connection too early" if not self._open else str(error)
                raise httpx2.RemoteProtocolError(why) from error
            if event is not h11.NEED_DATA:
                return event
            self._buffered = 0
            if self._paused:
                self._paused = False
                self._transport.resume_reading()
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(patience):
                    await self._waiting
            except TimeoutError as error:
                raise httpx2.ReadTimeout("no answer in time") from error
            finally:
                self._waiting = None


class _Answer(httpx2.AsyncByteStream):
    def __init__(self, wire: Wire, connection: Connection, patience: float | None) -> None:
        self._wire, self._connection, self._patience = wire, connection, patience
        self._given_back = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            event = await self._connection.event(self._patience)
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                raise httpx2.RemoteProtocolError("the answer ended before its end")
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
