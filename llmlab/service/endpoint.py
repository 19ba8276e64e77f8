"""POST /summarize/: from a request to its answer, as one document or as a stream of events.

A client that sends ``Accept: text/event-stream`` gets events ``progress`` while the windows
of a long text are read, then ``summary`` with the document that it would have got otherwise,
or ``problem``. What fails at once is answered as always; otherwise the head of the response does
not wait for the model, and a comment now and then tells whoever passes the stream on, and may
count the seconds of silence, that it goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from llmlab.config import Service
from llmlab.runtimes import TextTooLong
from llmlab.service.batcher import QueueFull, TooLate
from llmlab.service.connection import while_connected
from llmlab.service.drill import Drill, Drills, Struck, spoiled, strike
from llmlab.service.events import COMMENT, Event, EventStream
from llmlab.service.metrics import Metrics
from llmlab.service.preset import Told
from llmlab.service.problems import FAILED, Problem, document
from llmlab.service.reader import Tell
from llmlab.service.schemas import (
    EVENTS,
    OWN_LIMIT,
    TIMEOUT,
    ModelInfo,
    Progress,
    SummarizeRequest,
    SummarizeResponse,
    Usage,
)
from llmlab.service.summarizer import Answer, Summarizer, TooSlow

log = logging.getLogger("llmlab.service")

AT_ONCE = 0.2  # seconds in which a stream that cannot be answered still gets its status
HEARTBEAT = 15.0  # seconds of silence in a stream; proxies give up after 30 or 60
Heard = Progress | str | None  # a comment, where nothing was heard; None at the end


@dataclass(frozen=True)
class Endpoint:
    """What answers summarize requests once the model is loaded."""

    summarizer: Summarizer
    info: ModelInfo
    service: Service
    metrics: Metrics
    drills: Drills
    told: Told

    async def __call__(
        self, request: SummarizeRequest, connection: Request, timeout: float | None
    ) -> Response:
        """Args:
        timeout: seconds that the client waits, if it says so; never longer than the service
            would.
        """
        self.check(request)
        connection.scope["state"]["model_id"] = self.info.id  # for the log: who was asked
        seconds = min(timeout or self.service.timeout, self.service.timeout)
        if EVENTS in connection.headers.get("accept", ""):
            return await self._stream(request, connection, seconds)
        answer = await while_connected(
            connection.receive, self._answer(request, connection, seconds)
        )
        return JSONResponse(self._document(answer), headers=_headers(answer))

    def check(self, request: SummarizeRequest) -> None:
        """Raises Problem: the text is too long for this lab."""
        if len(request.text) > self.service.max_text_chars:
            raise Problem(
                413,
                f"The text has {len(request.text)} characters; "
                f"this lab takes {self.service.max_text_chars} (service.max_text_chars).",
            )

    async def _answer(
        self,
        request: SummarizeRequest,
        connection: Request,
        seconds: float,
        listener: Tell | None = None,
    ) -> Answer:
        """Raises Problem for everything that can be expected to go wrong."""
        generation = self.told.preset(connection.headers).applied_to(request)
        subject = connection.headers.get("x-subject", "")
        fresh = "no-cache" in connection.headers.get("cache-control", "").lower()
        drill = self.drills.strikes(subject, request.text)
        try:
            left = await strike(drill, seconds)
            if not left:
                raise TooSlow
            answer = await self.summarizer.summarize(
                request.text,
                generation,
                subject=subject,
                seconds=left,
                listener=listener,
                fresh=fresh,
            )
            return _after(drill, answer)
        except Struck:
            raise Problem(500, f"{FAILED} (A fault drill.)") from None
        except TooLate as late:
            why = f"No turn within {self._limit(seconds)}: too many texts wait for this model"
            raise self._turned_away("deadline", why, late, self._timing(seconds)) from None
        except QueueFull as full:
            why = "Too many requests wait for this model"
            raise self._turned_away("queue_full", why, full) from None
        except TooSlow:
            self.metrics.rejected.labels("timeout").inc()
            said = f"No summary within {self._limit(seconds)}."
            raise Problem(504, said, headers=self._timing(seconds)) from None
        except TextTooLong as error:
            raise Problem(422, f"{error.message}; {error.fix}.") from None

    def _limit(self, seconds: float) -> str:
        """The time that a summary has, and who says so."""
        whose = "service.timeout" if seconds == self.service.timeout else TIMEOUT
        return f"{seconds:g} s ({whose})"

    def _timing(self, seconds: float) -> dict[str, str]:
        return {} if seconds == self.service.timeout else {"Server-Timing": OWN_LIMIT}

    def _turned_away(
        self, reason: str, why: str, full: QueueFull, headers: Mapping[str, str] | None = None
    ) -> Problem:
        self.metrics.rejected.labels(reason).inc()
        after = full.retry_after
        told = {"Retry-After": str(after), **(headers or {})}
        return Problem(429, f"{why}; try again in {after} s.", headers=told)

    def _document(self, answer: Answer) -> dict[str, Any]:
        summary = answer.summary
        usage = Usage(
            input_tokens=summary.input_tokens, output_tokens=summary.output_tokens,
            windows=summary.windows, truncated=summary.truncated,
        )  # fmt: skip
        return SummarizeResponse(summary=summary.text, model=self.info, usage=usage).model_dump()

    # --- events ------------------------------------------------------------------

    async def _stream(
        self, request: SummarizeRequest, connection: Request, seconds: float
    ) -> Response:
        heard: asyncio.Queue[Heard] = asyncio.Queue()
        working = asyncio.create_task(self._answer(request, connection, seconds, heard.put_nowait))
        working.add_done_callback(lambda _: heard.put_nowait(None))
        try:
            first = await while_connected(connection.receive, within(AT_ONCE, heard))
            headers = _headers(working.result()) if first is None else {}
        except BaseException:
            working.cancel()
            raise

        async def events() -> AsyncIterator[Event | str]:
            one = first
            while one is not None:
                yield one if isinstance(one, str) else Event("progress", one.model_dump())
                one = await within(HEARTBEAT, heard)
            yield self._last(working, connection.scope["state"])

        return EventStream(events(), headers=headers, after=working.cancel)

    def _last(self, working: asyncio.Task[Answer], state: dict[str, Any]) -> Event:
        request_id = str(state["request_id"])
        try:
            return Event("summary", self._document(working.result()))
        except Problem as problem:
            state["status"] = problem.status  # for log and metrics: the head has said 200
            told = document(request_id, problem.status, problem.detail)
            after = problem.headers.get("Retry-After")
            return Event("problem", told | ({"retry_after": int(after)} if after else {}))
        except Exception:
            # The response has begun: this is the only place left to say so.
            log.exception("request %s failed", request_id)
            state["status"] = 500
            return Event("problem", document(request_id, 500, FAILED))


async def within(seconds: float, heard: asyncio.Queue[Heard]) -> Heard:
    """What is heard next, or a comment if that takes too long."""
    try:
        async with asyncio.timeout(seconds):
            return await heard.get()
    except TimeoutError:
        return COMMENT


def _after(drill: Drill | None, answer: Answer) -> Answer:
    text = spoiled(drill, answer.summary.text)
    if text == answer.summary.text:
        return answer
    return replace(answer, summary=replace(answer.summary, text=text))


def _headers(answer: Answer) -> dict[str, str]:
    queue = f"queue;dur={answer.queue_seconds * 1000:.1f}"
    return {"X-Cache": answer.source, "Server-Timing": queue}
