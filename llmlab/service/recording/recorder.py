"""Takes what passes of requests, of which their route is recorded: opt-in of who runs the lab,
told to the client in a header, and given up where the client says so.

Without a recording it costs a request one look at an empty list.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmlab.errors import unreadable
from llmlab.names import SUMMARIZE
from llmlab.recording.order import LARGEST, LOOK, Order, Orders
from llmlab.service.drill import Drills
from llmlab.service.guarding import ROUTE
from llmlab.service.metrics import Metrics
from llmlab.service.recording.transcript import LONGEST_REQUEST, Tape
from llmlab.service.recording.writer import Writer
from llmlab.service.schemas import EVENTS

log = logging.getLogger("llmlab.service")
RECORDED = "X-Recorded"  # of an answer: the recording that it may be kept in
ASKED = "asked"  # of a request's state: what it asks, as its model may read it
OPT_OUT = "no-store"  # of Cache-Control: RFC 9111, 5.2.1.5
PATHS = ("/summarize/", "/summarize", "/v1/chat/completions")


class Recorder:
    """What is to be recorded, if anything. It belongs to the event loop.

    Args:
        file: may appear, change and go at any time; None for a process that never records.
        drills: while one is on, answers are wrong on purpose, and are nobody's traffic.
    """

    def __init__(
        self, file: Path | None, deployment: str, drills: Drills, metrics: Metrics
    ) -> None:
        self._file, self._deployment = file, deployment
        self._drills, self._metrics = drills, metrics
        self._seen: tuple[int, int, int] | None = None
        self._due: dict[str, float] = {}
        self.orders: dict[str, Order] = {}
        self.writer = Writer(deployment)

    async def watch(self) -> None:
        """Look at the file for ever."""
        while True:
            if self._has_changed():
                # Beside the requests: what seals is imported now, which takes its time.
                await asyncio.to_thread(self._take)
            await asyncio.sleep(LOOK)

    def look(self) -> None:
        """Take note of what the file says now, if it is another one than before."""
        if self._has_changed():
            self._take()

    def _has_changed(self) -> bool:
        if self._file is None:
            return False
        try:
            found = self._file.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            seen = None
        changed, self._seen = seen != self._seen, seen
        return changed

    def _take(self) -> None:
        before, wanted = self.orders, self._read() if self._seen else {}
        # With an order goes its key, by which subjects have their names.
        keys = {one.pseudonyms for one in wanted.values()}
        self.writer.keep_only(keys)
        for key in set(self._due) - keys:
            self._due.pop(key, None)
        self.orders = {one.route: one for one in wanted.values() if self._is_able(one)}
        for one in self.orders.values():
            if before.get(one.route) != one:
                log.warning("recording %s: what %s is asked is kept", one.id, one.route)
        for one in before.values():
            if self.orders.get(one.route) != one:
                log.warning("recording %s has ended", one.id)

    def _is_able(self, order: Order) -> bool:
        """Whether it can be written here: else no client is told that it is."""
        if not os.access(order.folder, os.W_OK | os.X_OK):
            log.error("recording %s: nothing can be kept here: %s is closed to this process, or is "
                      "not there", order.id, order.folder)  # fmt: skip
            return False
        try:
            self.writer.reel_of(order)
        except (ImportError, ValueError) as error:
            log.error("recording %s: nothing can be kept here: %s", order.id, error)
            return False
        return True

    def _read(self) -> dict[str, Order]:
        assert self._file is not None
        try:
            with self._file.open("rb") as file:
                told = Orders.model_validate_json(file.read(LARGEST))
        except OSError as error:
            log.error("%s cannot be read: %s", self._file, error.strerror)
            return {}
        except ValidationError as error:
            log.error("%s says nothing to record: %s", self._file, unreadable(error))
            return {}
        return {one.route: one for one in told.orders}

    def tape(self, scope: Scope, is_stream: bool, asked_bytes: int = 0) -> Tape | None:
        """What to take a request on whose answer begins; None where it is not recorded.

        Args:
            asked_bytes: of the request's body.
        """
        asked = scope["state"].get(ASKED)
        headers = Headers(scope=scope)
        order = self.orders.get(route_of(scope, headers)) if asked is not None else None
        if order is None or time.time() >= order.until or self._drills.current:
            return None
        reel = self.writer.reel_of(order)
        if reel.full:
            return None
        if forbids(headers, asked):
            reel.opted_out += 1
            self._metrics.recorded.labels("opted_out").inc()
            return None
        due = self._due.get(order.pseudonyms, 0.0) + order.share
        self._due[order.pseudonyms] = due - 100 if due >= 100 else due
        if due < 100:
            return None
        if asked_bytes > LONGEST_REQUEST:
            reel.dropped += 1
            self._metrics.recorded.labels("dropped").inc()
            return None
        return Tape(
            order, asked, headers.get("x-subject", "").encode("latin-1").decode(errors="replace"),
            self._deployment, str(scope["state"].get("model_id", "")), time.time(), is_stream,
            asked_bytes,
        )  # fmt: skip

    def put(self, tape: Tape) -> None:
        self._metrics.recorded.labels("taken" if self.writer.put(tape) else "dropped").inc()


class Recording:
    """ASGI middleware: the answer passes, and a copy of it is kept if it is to be recorded."""

    def __init__(self, app: ASGIApp, recorder: Recorder) -> None:
        self.app, self.recorder = app, recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.recorder.orders or scope["type"] != "http" or scope["path"] not in PATHS:
            return await self.app(scope, receive, send)
        start, arrived, tape = time.perf_counter(), time.time(), None
        asked_bytes = 0

        async def heard() -> Message:
            nonlocal asked_bytes
            message = await receive()
            asked_bytes += len(message.get("body", b""))
            return message

        async def watched(message: Message) -> None:
            nonlocal tape
            if message["type"] == "http.response.start" and message["status"] == 200:
                headers = MutableHeaders(scope=message)
                tape = self.recorder.tape(scope, EVENTS in headers.get("content-type", ""),
                                          asked_bytes)  # fmt: skip
                if tape:
                    tape.at = arrived
                    headers[RECORDED] = tape.order.id
            elif tape and message["type"] == "http.response.body":
                tape.hear(message.get("body", b""), more=message.get("more_body", False))
            await send(message)

        try:
            await self.app(scope, heard, watched)
        finally:
            # Also of a stream whose client has left, or that broke off: as far as it came.
            if tape:
                tape.seconds = time.perf_counter() - start
                self.recorder.put(tape)


def forbids(headers: Headers, asked: Any) -> bool:
    """Whether a client wants nothing of it kept; OpenAI's dialect has a field for it."""
    told = OPT_OUT in ", ".join(headers.getlist("cache-control")).lower()  # a line, or several
    return told or getattr(asked, "store", None) is False


def route_of(scope: Scope, headers: Headers) -> str:
    """The public name that a request has asked for; "" where it has asked a deployment."""
    said: Any = headers.get(ROUTE, "")
    return said or ("" if scope["path"].startswith("/v1/") else SUMMARIZE)
