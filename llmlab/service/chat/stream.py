"""An answer as server-sent events, the way OpenAI's clients read them."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from llmlab.runtimes.chat import Chunk
from llmlab.service.chat.chunks import Named, Usage
from llmlab.service.chat.errors import ApiError
from llmlab.service.connection import ClientGone, while_connected
from llmlab.service.endpoint import HEARTBEAT
from llmlab.service.events import COMMENT, GIVEN_UP, warning
from llmlab.service.schemas import EVENTS

log = logging.getLogger("llmlab.service")
DONE = b"data: [DONE]\n\n"
# Seconds in which a client has to take a piece: while it does not, its turn is nobody else's.
PATIENCE = 30.0
UNBUFFERED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


# JSON without indentation has no line breaks, which would end the data.
_as_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def event(data: dict[str, Any]) -> bytes:
    return b"data: " + _as_json(data).encode() + b"\n\n"


class ChatStream(Response):
    """Sends chunks until there are no more, or nobody reads them.

    Args:
        first: the first chunk, which is there already: what fails before it has a status.
        wanted: whether the client asked for the usage.
        ends: when it is over at the latest, by the loop's clock: a model that writes on and on, or
            hardly at all, has its turn for no longer.
        failed: says what a failure is to a client; what it does not know, it raises.
        after: called at the end, however it came about.
    """

    def __init__(
        self,
        named: Named,
        first: Chunk | None,
        rest: AsyncGenerator[Chunk],
        usage: Usage,
        *,
        wanted: bool,
        ends: float,
        failed: Callable[[Exception], ApiError],
        after: Callable[[], object],
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(None, headers={**UNBUFFERED, **headers}, media_type=EVENTS)
        del self.headers["content-length"]
        self._named, self._first, self._rest, self._usage = named, first, rest, usage
        self._wanted, self._ends, self._failed, self._after = wanted, ends, failed, after
        self._last = 0.0
        self._held_up = False  # by the client, which took so long to read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(receive, self._stream(scope, send))
        finally:
            self._after()

    async def _stream(self, scope: Scope, send: Send) -> None:
        async with aclosing(self._rest):
            head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(head)
            beating = asyncio.create_task(self._beat(send))
            try:
                await self._events(scope, send)
            finally:
                beating.cancel()
            await self._send(send, DONE, more=False)

    async def _events(self, scope: Scope, send: Send) -> None:
        try:
            async with asyncio.timeout_at(self._ends):
                if self._first:
                    await self._tell(send, self._first)
                async for chunk in self._rest:
                    await self._tell(send, chunk)
            if self._wanted:
                await self._send(send, event(self._named.chunk([], usage=self._usage.as_json())))
        except ClientGone:
            raise
        except Exception as error:
            told = self._failed(error)
            scope["state"]["status"] = told.status  # for log and metrics: the head has said 200
            warned = GIVEN_UP if self._held_up else warning(told.status, told.headers)
            await self._send(send, warned.encode() + event(told.document))

    async def _tell(self, send: Send, chunk: Chunk) -> None:
        if chunk["choices"]:
            await self._send(send, event(self._named.chunk(chunk["choices"])))

    async def _send(self, send: Send, body: bytes, more: bool = True) -> None:
        self._last = time.monotonic()
        sending = asyncio.current_task()
        assert sending
        gone = False

        def give_up() -> None:
            nonlocal gone
            gone = sending.cancel()

        # asyncio.timeout() does the same, and takes a tenth of the time of an event.
        timer = asyncio.get_running_loop().call_later(PATIENCE, give_up)
        try:
            await send({"type": "http.response.body", "body": body, "more_body": more})
        except asyncio.CancelledError:
            if gone and not sending.uncancel():
                raise ClientGone from None
            self._held_up = True
            raise
        finally:
            timer.cancel()

    async def _beat(self, send: Send) -> None:
        """A comment where nothing is sent for long: whoever passes the stream on may count the
        seconds of silence. Each call of ``send`` has whole events, so it comes between two."""
        while True:
            await asyncio.sleep(HEARTBEAT)
            if time.monotonic() - self._last >= HEARTBEAT:
                await self._send(send, COMMENT.encode())
