"""HTTP/1.1 to one server, over connections that are kept: what a model's server is asked by.

In the place of httpx's own transport, whose pool looks at all of its connections, each by a system
call, before and after every request: half a millisecond with 64 of them, and four with 512. This
one takes the connection that was used last. And it knows whether anything of a request was sent:
only what fails before that is a ``ConnectError`` or a ``ConnectTimeout``.

It follows no redirect, knows no proxy and keeps no cookie.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpx2

from llmlab.runtimes.connection import Connection

LINGER = 0.1  # seconds


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
