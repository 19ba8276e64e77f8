"""Where requests pass: the answer goes on as it comes, and a copy of it is remembered if it is to
be."""

from __future__ import annotations

import contextlib
import logging

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmlab.service.chat.copies import CallsTool, can_be_copied, text_of, told_of
from llmlab.service.chat.schemas import ChatRequest
from llmlab.service.chat.watching import Watched
from llmlab.service.recording.recorder import ASKED, PATHS, forbids, route_of
from llmlab.service.recording.transcript import LONGEST_ANSWER, choices_in, summary_in
from llmlab.service.sampling.remembering import Memory
from llmlab.service.schemas import EVENTS, SummarizeRequest

log = logging.getLogger("llmlab.service")


class Remembering:
    """ASGI middleware. An answer that breaks off is none that could be compared."""

    def __init__(self, app: ASGIApp, memory: Memory) -> None:
        self.app, self.memory = app, memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.memory.orders or scope["type"] != "http" or scope["path"] not in PATHS:
            return await self.app(scope, receive, send)
        parts: list[bytes] = []
        taken = is_stream = whole = False

        async def watched(message: Message) -> None:
            nonlocal taken, is_stream, whole
            if message["type"] == "http.response.start" and message["status"] == 200:
                is_stream = EVENTS in Headers(raw=message["headers"]).get("content-type", "")
                taken = self._takes(scope)
            elif taken and message["type"] == "http.response.body":
                parts.append(message.get("body", b""))
                whole = not message.get("more_body", False)
                taken = sum(map(len, parts)) <= LONGEST_ANSWER
            await send(message)

        await self.app(scope, receive, watched)
        if taken and whole:
            self._keep(scope, b"".join(parts), is_stream)

    def _takes(self, scope: Scope) -> bool:
        headers, asked = Headers(scope=scope), scope["state"].get(ASKED)
        if isinstance(asked, ChatRequest):
            is_one = can_be_copied(asked)
        else:
            is_one = isinstance(asked, SummarizeRequest)
        if not is_one or forbids(headers, asked):
            return False
        return self.memory.takes(route_of(scope, headers), _subject(headers))

    def _keep(self, scope: Scope, body: bytes, is_stream: bool) -> None:
        asked, headers = scope["state"][ASKED], Headers(scope=scope)
        route, subject = route_of(scope, headers), _subject(headers)
        try:
            if isinstance(asked, ChatRequest):
                self._keep_chat(scope, asked, route, subject, body.decode(), is_stream)
                return
            choices, broken = summary_in(body.decode(), is_stream)
        except (ValueError, KeyError, TypeError) as error:  # its message may quote a text
            log.error("an answer cannot be remembered (%s)", type(error).__name__)
            return
        if choices and not broken:
            summary = str(choices[0]["text"])
            self.memory.keep(route, subject, asked, asked.text, summary)

    def _keep_chat(
        self,
        scope: Scope,
        asked: ChatRequest,
        route: str,
        subject: str,
        body: str,
        is_stream: bool,
    ) -> None:
        choices, broken = choices_in(body, is_stream)
        if broken or not choices:
            return
        watched: Watched | None = scope["state"].get("watched")
        with contextlib.suppress(CallsTool):
            told = told_of(choices[0], watched.answer if watched else None)
            self.memory.keep(route, subject, asked, text_of(asked), told["text"], told["ended"])


def _subject(headers: Headers) -> str:
    return headers.get("x-subject", "")
