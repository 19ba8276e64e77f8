"""Tells the gateway what a request has used, which it has reserved an estimate of, and what became
of its answer: see ``llmlab.answered``.

The gateway gives each request that may ask a model an id, in X-Settlement, that nobody else
knows. A whole answer says what was used in its head. The head of a stream is gone by then, and so
is a client that has left: then the id is told with it at a socket of the gateway's; of a stream
before its end is sent, so that the gateway has it when it writes its log.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmlab.service.chat.watching import word_of
from llmlab.service.schemas import EVENTS
from llmlab.service.spending import Spent, of_scope

log = logging.getLogger("llmlab.service")

ID, USAGE, ANSWER = "X-Settlement", "X-Usage", "X-Answer"
AT_ONCE = 1.0  # seconds for which the end of a stream waits for the gateway
# Seconds until it is told again: a gateway that ended is back by then.
AGAIN = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
MOST = 4096  # that are told in the background; beyond it, what was reserved stands
IN_HEAD = "-"  # in the place of an id: the gateway has no such socket
SHADOW = "/shadow/"  # copies, which nobody is charged for
KNOWN = ("204", "410", "400")  # statuses after which there is no use in telling it again


class Desk:
    """Where the gateway takes settlements.

    Args:
        socket: None where it takes none.
    """

    def __init__(self, socket: Path | None, deployment: str) -> None:
        self._socket, self._deployment = socket, deployment
        self._telling: set[asyncio.Task[None]] = set()

    async def tell(self, number: str, spent: Spent, word: str = "") -> None:
        """Tell it now; and later, where the gateway does not hear it now."""
        if self._socket is None:
            return
        try:
            async with asyncio.timeout(AT_ONCE):
                if await self._tell(self._socket, number, spent, word):
                    return
        except (OSError, TimeoutError):
            pass
        self.tell_later(number, spent)

    def tell_later(self, number: str, spent: Spent) -> None:
        """Tell it in the background."""
        if self._socket is None or len(self._telling) >= MOST:
            return
        task = asyncio.get_running_loop().create_task(self._insist(self._socket, number, spent))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def close(self) -> None:
        """Tell what is not told yet, for a moment."""
        if self._telling:
            await asyncio.wait(self._telling, timeout=AT_ONCE)

    async def _insist(self, socket: Path, number: str, spent: Spent) -> None:
        for pause in (0.0, *AGAIN):
            await asyncio.sleep(pause)
            try:
                async with asyncio.timeout(AT_ONCE):
                    if await self._tell(socket, number, spent):
                        return
            except (OSError, TimeoutError):
                continue
        log.warning("the gateway was not told what a request has used: what it reserved stands")

    async def _tell(self, socket: Path, number: str, spent: Spent, word: str = "") -> bool:
        """Whether it has heard it. One request and one line of the answer: what a client library
        would add takes longer than all of it."""
        read, _, written = str(spent).partition(" ")
        reader, writer = await asyncio.open_unix_connection(socket)
        try:
            asked = f"/settlements?id={number}&in={read}&out={written}&by={self._deployment}"
            asked += f"&answer={word}" if word else ""
            writer.write(
                f"POST {asked} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n"
                "Content-Length: 0\r\n\r\n".encode()
            )
            head = (await reader.readline()).decode("latin-1").split(" ")
        finally:
            writer.close()
        return len(head) > 1 and head[1] in KNOWN


class Settling:
    """Middleware: says of each request that has an id what it has used, in one way or the other."""

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        self.app, self.desk = app, desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        number = Headers(scope=scope).get(ID, "") if scope["type"] == "http" else ""
        if (not _is_one(number) and number != IN_HEAD) or scope["path"].startswith(SHADOW):
            return await self.app(scope, receive, send)
        told, streams = False, False

        async def telling(message: Message) -> None:
            nonlocal told, streams
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                streams = headers.get("content-type", "").startswith(EVENTS)
                if not streams:
                    headers[USAGE] = str(of_scope(scope))
                    if message["status"] == 200 and (word := word_of(scope)):
                        headers[ANSWER] = word
                    told = True
            elif streams and not told and not message.get("more_body"):
                told = True
                if number != IN_HEAD:
                    await self.desk.tell(number, of_scope(scope), word_of(scope))
            await send(message)

        try:
            await self.app(scope, receive, telling)
        finally:
            if not told and number != IN_HEAD:
                self.desk.tell_later(number, of_scope(scope))


def _is_one(number: str) -> bool:
    return len(number) == 32 and not number.strip("0123456789abcdef")
