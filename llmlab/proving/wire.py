"""One connection for each question, byte by byte: also for what no honest client sends.

Everything has a deadline, and so much is read and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from llmlab.proving.answers import Answer, Heard, sent_as_shown, taken_apart

CONNECT = 5.0  # seconds
LINGER = 0.25  # seconds for which more may come behind what was waited for
MOST = 4 << 20  # bytes of what comes on one connection
PIECE = 1 << 16
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Unreached(Exception):
    """No connection could be made."""


@dataclass(frozen=True)
class Wire:
    """The way to a gateway.

    Args:
        tls: None for plain HTTP.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Streams]:
        """A connection, for a block; it is cut off at its end.

        Raises:
            Unreached: there is none to be had.
        """
        name = self.host if self.tls else None
        try:
            async with asyncio.timeout(CONNECT):
                reader, writer = await asyncio.open_connection(
                    self.host, self.port, ssl=self.tls, server_hostname=name, limit=MOST
                )
        except (OSError, TimeoutError, ssl.SSLError) as error:
            raise Unreached(str(error) or "no answer") from error
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def talk(
        self,
        *pieces: bytes,
        methods: tuple[str, ...] = ("GET",),
        answers: int = 1,
        patience: float = 10.0,
        linger: float = 0.0,
        between: float = 0.0,
    ) -> Heard:
        """Send the pieces, and hear what comes.

        Args:
            methods: of the requests that they are.
            answers: so many are waited for.
            patience: seconds in all.
            linger: seconds for which more is waited for, behind those.
            between: seconds between two pieces.

        Raises:
            Unreached: no connection could be made.
        """
        shown = sent_as_shown(b"".join(pieces))
        async with self.open() as (reader, writer):
            start = time.monotonic()
            sending = asyncio.create_task(_send(writer, pieces, between))
            try:
                heard = await _hear(reader, shown, methods, answers, patience, linger, start)
            finally:
                sending.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await sending
        return heard

    async def stream(
        self, data: bytes, *, method: str, patience: float
    ) -> tuple[Heard, list[float]]:
        """Send a request, and hear its answer; and the seconds after which each part of that came.

        Raises:
            Unreached: no connection could be made.
        """
        came: list[float] = []
        raw, closed = bytearray(), False
        found: list[Answer] = []
        rest = b""
        async with self.open() as (reader, writer):
            start = time.monotonic()
            await _send(writer, (data,), 0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    while not closed and not (found and found[0].whole) and len(raw) < MOST:
                        part = await _read(reader)
                        closed = not part
                        raw += part
                        came += [time.monotonic() - start] if part else []
                        found, rest = taken_apart(bytes(raw), (method,), closed=closed)
        shown = sent_as_shown(data)
        told = tuple(replace(one, sent=shown, seconds=came[-1]) for one in found)
        return Heard(told, shown, rest, closed, False, time.monotonic() - start), came

    async def leave(self, data: bytes, *, patience: float) -> bytes:
        """Send a request, wait for the first part of its answer, and be gone.

        Raises:
            Unreached: no connection could be made.
        """
        async with self.open() as (reader, writer):
            await _send(writer, (data,), 0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    return await _read(reader)
        return b""


async def _read(reader: asyncio.StreamReader) -> bytes:
    """b"" where the other side ended it, in whatever way."""
    try:
        return await reader.read(PIECE)
    except (OSError, ssl.SSLError):
        return b""


async def _send(writer: asyncio.StreamWriter, pieces: tuple[bytes, ...], between: float) -> None:
    # Who has answered already may have closed; what it said is what counts.
    with contextlib.suppress(OSError):
        for number, piece in enumerate(pieces):
            if number and between:
                await asyncio.sleep(between)
            writer.write(piece)
            await writer.drain()


async def _hear(
    reader: asyncio.StreamReader,
    sent: str,
    methods: tuple[str, ...],
    answers: int,
    patience: float,
    linger: float,
    start: float,
) -> Heard:
    raw, closed, cut = bytearray(), False, False
    until, last = start + patience, time.monotonic()
    found: list[Answer] = []
    rest = b""
    enough = False
    while not closed and len(raw) < MOST:
        left = min(until, last + linger) if enough else until
        try:
            async with asyncio.timeout(max(0.0, left - time.monotonic())):
                part = await reader.read(PIECE)
        except TimeoutError:
            break
        except (OSError, ssl.SSLError):
            closed = cut = True
            part = b""
        closed = closed or not part
        raw += part
        last = time.monotonic()
        found, rest = taken_apart(bytes(raw), methods, closed=closed)
        enough = sum(one.whole for one in found) >= answers
        if enough and not linger:
            break
    told = tuple(replace(one, sent=sent, seconds=last - start) for one in found)
    return Heard(told, sent, rest, closed, cut, time.monotonic() - start)
