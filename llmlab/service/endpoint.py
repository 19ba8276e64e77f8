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
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from llmlab.config import Service
from llmlab.guards.base import Where
from llmlab.guards.rules import Blocked, GuardFailed
from llmlab.runtimes import TextTooLong
from llmlab.runtimes.chat import ChatFailure
from llmlab.service.chat.errors import of_failure
from llmlab.service.connection import while_connected
from llmlab.service.drill import Drill, Drills, Struck, spoiled, strike
from llmlab.service.elsewhere import handed_on, note, telling
from llmlab.service.events import COMMENT, Event, EventStream, warning
from llmlab.service.guarding import Guarding, as_problem, telling_of_guards
from llmlab.service.metrics import Metrics
from llmlab.service.preset import Told
from llmlab.service.problems import FAILED, Problem, document
from llmlab.service.queued import QueueFull
from llmlab.service.reader import Tell
from llmlab.service.refusals import Refusals
from llmlab.service.schemas import (
    EVENTS,
    ModelInfo,
    Progress,
    SummarizeRequest,
    SummarizeResponse,
    Usage,
)
from llmlab.service.spending import Reading, begin
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
    guarding: Guarding
    fallback: str = ""

    @property
    def refusals(self) -> Refusals:
        return Refusals(self.service, self.metrics)

    async def __call__(
        self, request: SummarizeRequest, connection: Request, timeout: float | None
    ) -> Response:
        """Args:
        timeout: seconds that the client waits, if it says so; never longer than the service
            would.
        """
        if EVENTS in connection.headers.get("accept", ""):
            return await self._stream(
                request, connection, self._begin(request, connection, timeout)
            )
        answer = await self.answer(request, connection, timeout)
        return JSONResponse(self._document(answer), headers=headers_of(answer, connection))

    async def answer(
        self, request: SummarizeRequest, connection: Request, timeout: float | None
    ) -> Answer:
        """Likewise, for whoever tells it in another form."""
        seconds = self._begin(request, connection, timeout)
        return await while_connected(connection.receive, self._answer(request, connection, seconds))

    def _begin(
        self, request: SummarizeRequest, connection: Request, timeout: float | None
    ) -> float:
        """Seconds that it may take."""
        self.check(request)
        connection.scope["state"]["model_id"] = self.info.id  # for the log: who was asked
        return self.refusals.patience(timeout)

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
        request = await self.admitted(request, connection)
        connection.scope["state"]["asked"] = request  # for a recording, if there is one
        subject = connection.headers.get("x-subject", "")
        fresh = "no-cache" in connection.headers.get("cache-control", "").lower()
        drill = self.drills.strikes(subject, request.text)
        reading = Reading()
        begin(connection.scope, reading)
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
                reading=reading,
            )
            note(answer.summary.by, connection.scope["state"])
            answer = _after(drill, answer, request.text)
            return await self._let_out(answer, request.text, connection)
        except Struck:
            raise Problem(500, f"{FAILED} (A fault drill.)") from None
        except QueueFull as full:
            raise self.refusals.turned_away(full, seconds) from None
        except TooSlow:
            raise self.refusals.too_slow(seconds) from None
        except ChatFailure as failure:
            more = handed_on(failure, self.fallback, connection.headers)
            raise _of_server(failure, more) from failure
        except TextTooLong as error:
            raise Problem(422, f"{error.message}; {error.fix}.") from None

    async def admitted(self, request: SummarizeRequest, connection: Request) -> SummarizeRequest:
        """A request as its model may read it.

        Raises:
            Problem: a guard refuses it, or could not tell.
        """
        text = await self._looked_at(request.text, "request", "text", connection)
        return request if text == request.text else request.model_copy(update={"text": text})

    async def _let_out(self, answer: Answer, asked: str, connection: Request) -> Answer:
        """An answer as its client may read it: a kept one, too, which was looked at before."""
        text = answer.summary.text
        told = await self._looked_at(text, "answer", "summary", connection, asked)
        if told == text:
            return answer
        return replace(answer, summary=replace(answer.summary, text=told))

    async def _looked_at(
        self, text: str, where: Where, what: str, connection: Request, asked: str = ""
    ) -> str:
        rules = self.guarding.of_summarize(where, connection)
        state = connection.scope["state"]
        if not rules:
            return text
        try:
            return await self.guarding.text(text, rules, where, state, asked=asked)
        except (Blocked, GuardFailed) as error:
            if isinstance(error, GuardFailed):
                self.guarding.failed(error, state)
            raise as_problem(error, what) from None

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
            headers = headers_of(working.result(), connection) if first is None else {}
        except BaseException:
            working.cancel()
            raise

        async def events() -> AsyncIterator[Event | str]:
            one = first
            while one is not None:
                yield one if isinstance(one, str) else Event("progress", one.model_dump())
                one = await within(HEARTBEAT, heard)
            for last in self._last(working, connection.scope["state"]):
                yield last

        return EventStream(events(), headers=headers, after=working.cancel)

    def _last(self, working: asyncio.Task[Answer], state: dict[str, Any]) -> Iterator[Event | str]:
        request_id = str(state["request_id"])
        try:
            yield Event("summary", self._document(working.result()))
            return
        except Problem as error:
            problem = error
        except Exception:
            # The response has begun: this is the only place left to say so.
            log.exception("request %s failed", request_id)
            problem = Problem(500, FAILED)
        state["status"] = problem.status  # for log and metrics: the head has said 200
        told = document(request_id, problem.status, problem.detail)
        after = problem.headers.get("Retry-After")
        yield warning(problem.status, problem.headers)
        yield Event("problem", told | ({"retry_after": int(after)} if after else {}))


def _of_server(failure: ChatFailure, more: Mapping[str, str]) -> Problem:
    """What a client is told where it is a model's server that failed."""
    told = of_failure(failure, prompt="text")
    return Problem(told.status, told.message, headers={**told.headers, **more})


async def within(seconds: float, heard: asyncio.Queue[Heard]) -> Heard:
    """What is heard next, or a comment if that takes too long."""
    try:
        async with asyncio.timeout(seconds):
            return await heard.get()
    except TimeoutError:
        return COMMENT


def _after(drill: Drill | None, answer: Answer, source: str) -> Answer:
    text = spoiled(drill, answer.summary.text, source)
    if text == answer.summary.text:
        return answer
    return replace(answer, summary=replace(answer.summary, text=text))


def headers_of(answer: Answer, connection: Request) -> dict[str, str]:
    queue = f"queue;dur={answer.queue_seconds * 1000:.1f}"
    told = {**telling(answer.summary.by), **telling_of_guards(connection.scope["state"])}
    return {"X-Cache": answer.source, "Server-Timing": queue, **told}
