"""POST /summarize/: from a request to its answer, as one document or as a stream of events.

A client that sends ``Accept: text/event-stream`` gets an event ``progress`` for every window
of a long text, then ``summary`` with the document that it would have got otherwise, or
``problem``. What fails before the first window is read is answered as always.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Coroutine
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from llmlab.config import Service
from llmlab.runtimes import Generation, TextTooLong
from llmlab.service.batcher import QueueFull
from llmlab.service.metrics import Metrics
from llmlab.service.middleware import ClientGone
from llmlab.service.problems import Problem, document
from llmlab.service.schemas import ModelInfo, SummarizeRequest, SummarizeResponse, Usage
from llmlab.service.summarizer import Answer, Listener, Progress, Summarizer

T = TypeVar("T")
EVENTS = "text/event-stream"
TIMEOUT = "X-Request-Timeout"


@dataclass(frozen=True)
class Endpoint:
    """What answers summarize requests once the model is loaded."""

    summarizer: Summarizer
    info: ModelInfo
    service: Service
    metrics: Metrics

    async def __call__(self, request: SummarizeRequest, connection: Request) -> Response:
        if len(request.text) > self.service.max_text_chars:
            raise Problem(
                413,
                f"The text has {len(request.text)} characters; "
                f"this lab takes {self.service.max_text_chars} (service.max_text_chars).",
            )
        seconds = _seconds(connection, self.service.timeout)
        if EVENTS in connection.headers.get("accept", ""):
            return await self._stream(request, connection, seconds)
        answer = await _while_connected(connection, self._answer(request, connection, seconds))
        return JSONResponse(self._document(answer), headers=_headers(answer))

    async def _answer(
        self,
        request: SummarizeRequest,
        connection: Request,
        seconds: float,
        listener: Listener | None = None,
    ) -> Answer:
        """Raises Problem for everything that can go wrong."""
        generation = Generation(request.max_length, request.min_length, request.strategy)
        subject = connection.headers.get("x-subject", "")
        try:
            answer = await self.summarizer.summarize(
                request.text, generation, subject=subject, seconds=seconds, listener=listener
            )
        except QueueFull as full:
            self.metrics.rejected.labels("queue_full").inc()
            raise Problem(
                429,
                f"Too many requests wait for this model; try again in {full.retry_after} s.",
                headers={"Retry-After": str(full.retry_after)},
            ) from None
        except TimeoutError:
            self.metrics.rejected.labels("timeout").inc()
            limit = "service.timeout" if seconds == self.service.timeout else TIMEOUT
            raise Problem(504, f"No summary within {seconds:g} s ({limit}).") from None
        except TextTooLong as error:
            raise Problem(422, f"{error.message}; {error.fix}.") from None
        if answer.source == "miss":
            self.metrics.input_tokens.inc(answer.summary.input_tokens)
            self.metrics.output_tokens.inc(answer.summary.output_tokens)
        return answer

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
        heard: asyncio.Queue[Progress | None] = asyncio.Queue()
        working = asyncio.create_task(self._answer(request, connection, seconds, heard.put_nowait))
        working.add_done_callback(lambda _: heard.put_nowait(None))
        first = await _while_connected(connection, heard.get(), also=working)
        if first is None and (error := working.exception()):
            raise error
        return StreamingResponse(
            self._events(first, heard, working, connection),
            media_type=EVENTS,
            # Each event is to arrive when it happens, not when a buffer is full.
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _events(
        self,
        progress: Progress | None,
        heard: asyncio.Queue[Progress | None],
        working: asyncio.Task[Answer],
        connection: Request,
    ) -> AsyncIterator[str]:
        try:
            while progress is not None:
                yield _event("progress", asdict(progress))
                progress = await heard.get()
            try:
                yield _event("summary", self._document(working.result()))
            except Problem as problem:
                request_id = connection.scope["state"]["request_id"]
                yield _event("problem", document(request_id, problem.status, problem.detail))
        finally:
            working.cancel()


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def _headers(answer: Answer) -> dict[str, str]:
    queue = f"queue;dur={answer.queue_seconds * 1000:.1f}"
    return {"X-Cache": answer.source, "Server-Timing": queue}


def _seconds(connection: Request, most: float) -> float:
    """How long the client waits, if it says so; never longer than the service would."""
    asked = connection.headers.get(TIMEOUT)
    if asked is None:
        return most
    try:
        seconds = float(asked)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise Problem(400, f"{TIMEOUT}: should be a number of seconds above 0, such as 2.5.")
    return min(seconds, most)


async def _while_connected(
    connection: Request, work: Coroutine[Any, Any, T], also: asyncio.Task[Any] | None = None
) -> T:
    """Wait for work, and drop it when the client hangs up.

    Args:
        also: dropped with it.

    Raises:
        ClientGone: nobody waits for the answer.
    """
    working = asyncio.ensure_future(work)
    # The body was read before; what comes next is the end of the connection.
    leaving = asyncio.ensure_future(connection.receive())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            if also:
                also.cancel()
            raise ClientGone
        return working.result()
    finally:
        leaving.cancel()
        working.cancel()
