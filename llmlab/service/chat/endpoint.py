"""POST /v1/...: from a request of OpenAI's dialect to its answer, whole or as a stream."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from llmlab.config import Service
from llmlab.guards.rules import GuardFailed
from llmlab.models.identity import short_id
from llmlab.runtimes import TextTooLong
from llmlab.runtimes.chat import ChatFailure, Chunk, Refused, Unreachable
from llmlab.service.aside import put_aside
from llmlab.service.chat.admitting import Admitting, passing
from llmlab.service.chat.bodies import parsed_json
from llmlab.service.chat.chunks import Kind, Named, Usage, tidied
from llmlab.service.chat.collecting import collected
from llmlab.service.chat.copies import Copied, can_be_copied, copied, users_last
from llmlab.service.chat.drilled import Make, drilled
from llmlab.service.chat.errors import TOO_LONG, ApiError, of_failure
from llmlab.service.chat.formats import Format
from llmlab.service.chat.guarded import Open, guarded_whole
from llmlab.service.chat.schemas import (
    Asked,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    checked,
    parsed_document,
)
from llmlab.service.chat.stream import ChatStream
from llmlab.service.chat.watching import Watched, watch
from llmlab.service.connection import while_connected
from llmlab.service.drill import Drills, Struck
from llmlab.service.elsewhere import handed_on, note, telling
from llmlab.service.guarding import ROUTE, telling_of_guards
from llmlab.service.metrics import Metrics
from llmlab.service.problems import FAILED, Problem
from llmlab.service.queued import QueueFull
from llmlab.service.refusals import Refusals
from llmlab.service.schemas import ModelInfo
from llmlab.service.spending import NOTHING, Spent, Told, begin
from llmlab.service.summarizer import TooSlow

log = logging.getLogger("llmlab.service")
FIELDS: Mapping[Kind, str] = {"chat": "messages", "text": "prompt"}
A = TypeVar("A", bound=Asked)


class Backend(Protocol):
    """What answers: a chat model, or one that only summarizes."""

    def chat(
        self, asked: ChatRequest, connection: Request, seconds: float, usage: Usage
    ) -> AsyncGenerator[Chunk]: ...

    def completion(
        self, asked: CompletionRequest, connection: Request, seconds: float, usage: Usage
    ) -> AsyncGenerator[Chunk]: ...

    async def embeddings(
        self, asked: EmbeddingRequest, connection: Request, seconds: float
    ) -> dict[str, Any]: ...


@dataclass(frozen=True)
class ChatEndpoint:
    """What answers under /v1 once the model is loaded.

    Args:
        longest: seconds of a streamed answer, whatever its client would wait.
    """

    backend: Backend
    info: ModelInfo
    deployment: str
    service: Service
    metrics: Metrics
    drills: Drills
    longest: float
    admitting: Admitting
    fallback: str = ""
    since: int = field(default_factory=lambda: int(time.time()))

    # --- models ------------------------------------------------------------------

    def models(self, connection: Request) -> dict[str, Any]:
        """The model of this deployment, by the name that it is asked by here."""
        return {"object": "list", "data": [self._model(self._public(connection))]}

    def model(self, name: str, connection: Request) -> dict[str, Any]:
        self._check_name(name, connection)
        return self._model(name)

    def _model(self, name: str) -> dict[str, Any]:
        return {
            "id": name, "object": "model", "created": self.since, "owned_by": "llmlab",
            "content_id": self.info.id, "runtime": self.info.runtime,
        }  # fmt: skip

    def _public(self, connection: Request) -> str:
        return connection.headers.get(ROUTE) or self.info.name

    def _check_name(self, name: str | None, connection: Request) -> None:
        """Raises ApiError: it is another model that is asked for."""
        there = list(dict.fromkeys((self._public(connection), self.info.name, self.deployment)))
        if name and name not in there:
            said = f"The model {name[:100]!r} does not exist here; there is {', '.join(there)}."
            raise ApiError(404, said, code="model_not_found", param="model")

    # --- answers -----------------------------------------------------------------

    async def chat(self, connection: Request, timeout: float | None) -> Response:
        asked = await self._asked(ChatRequest, connection)
        connection.scope["state"]["asked"] = asked  # for a recording, if there is one
        usage, text = Usage(), users_last(asked)

        def make(seconds: float) -> AsyncGenerator[Chunk]:
            return self.backend.chat(asked, connection, seconds, usage)

        return await self._answer("chat", asked, text, make, usage, connection, timeout)

    async def copy(self, connection: Request) -> Copied:
        """A conversation whose answer nobody waits for.

        Raises:
            ApiError: it is none, or none that can be copied.
        """
        asked = await self._asked(ChatRequest, connection)
        if asked.stream or not can_be_copied(asked):
            raise ApiError(400, "This cannot be copied: it is not all words, or has no one answer.")
        put_aside(connection)
        return copied(
            asked, connection, self.backend.chat, self.drills, self.admitting, self._count
        )

    async def completion(self, connection: Request, timeout: float | None) -> Response:
        asked = await self._asked(CompletionRequest, connection)
        usage, text = Usage(), asked.prompt if isinstance(asked.prompt, str) else ""

        def make(seconds: float) -> AsyncGenerator[Chunk]:
            return self.backend.completion(asked, connection, seconds, usage)

        return await self._answer("text", asked, text, make, usage, connection, timeout)

    async def embeddings(self, connection: Request, timeout: float | None) -> Response:
        document = parsed_json(await connection.body())
        asked = checked(EmbeddingRequest, document)
        asked = await self.admitting.request(asked, document, connection)
        self._check_name(asked.model, connection)
        connection.scope["state"]["model_id"] = self.info.id
        seconds = self._refusals.patience(timeout)
        told = Told(Spent(None, 0))
        begin(connection.scope, told)
        try:
            answer = await while_connected(
                connection.receive, self.backend.embeddings(asked, connection, seconds)
            )
            read = (answer.get("usage") or {}).get("prompt_tokens")
            told.now = Spent(read if isinstance(read, int) else None, 0)
        except Exception as error:
            if isinstance(error, ApiError | QueueFull | Refused | Unreachable):
                told.now = NOTHING
            found = self._failure(error, "input", seconds, connection)
            if found is error:
                raise
            raise found from error
        headers = dict(telling_of_guards(connection.scope["state"]))
        named = answer | {"model": asked.model or self._public(connection)}
        return JSONResponse(named, headers=headers)

    async def _asked(self, kind: type[A], connection: Request) -> A:
        """What is asked, as the model may read it."""
        document = parsed_document(await connection.body())
        return await self.admitting.request(checked(kind, document), document, connection)

    async def _answer(
        self,
        kind: Kind,
        asked: Asked,
        text: str,
        make: Make,
        usage: Usage,
        connection: Request,
        timeout: float | None,
    ) -> Response:
        """
        Args:
            text: what a drill looks at.
            make: the chunks, given the seconds that there are.
        """
        self._check_name(asked.model, connection)
        opened = self.admitting.opened(asked, text, connection)
        state = connection.scope["state"]
        state["model_id"] = self.info.id
        seconds = self._refusals.patience(timeout)
        lasts = min(timeout or self.longest, self.longest)
        ends = asyncio.get_running_loop().time() + lasts
        fingerprint = f"{self.deployment}@{short_id(self.info.id)}"
        named = Named.new(kind, time.time(), asked.model or self._public(connection), fingerprint)
        drill = self.drills.strikes(connection.headers.get("x-subject", ""), text)
        prompts = len(asked.prompts) if isinstance(asked, CompletionRequest) else 1

        def began(waited: float) -> None:
            self.metrics.first_token.observe(waited)
            self.metrics.genai.began(kind, waited)

        watched = Watched(usage, bool(asked.stream), Format.of(asked), began)
        chunks = watched.chunks(tidied(kind, drilled(kind, drill, make, seconds, text)))
        begin(connection.scope, usage)
        watch(connection.scope, watched)

        def settle() -> None:
            self._settle(kind, usage, watched, state)

        try:
            if not asked.stream:
                whole = self._whole(named, chunks, usage, seconds, opened)
                answer = await while_connected(connection.receive, whole)
                settle()
                told = {**telling(usage.by), **telling_of_guards(state)}
                return JSONResponse(answer, headers=told)
            chunks = passing(kind, chunks, opened, asked.choices * prompts)
            first = await while_connected(connection.receive, _first(chunks, seconds))
        except Exception as error:
            settle()
            found = self._failure(error, FIELDS[kind], seconds, connection)
            if isinstance(found, ApiError):
                found.headers |= handed_on(error, self.fallback, connection.headers)
            if found is error:  # of which it cannot be the cause, or neither would ever be freed
                raise
            raise found from error

        def failed(error: Exception) -> ApiError:
            if isinstance(error, TimeoutError):
                if lasts >= self.longest:  # and not the client's own limit
                    watched.ran_out()
                found: Exception = self._refusals.broken_off(lasts, self.longest)
            else:
                found = self._failure(error, FIELDS[kind], seconds, connection)
            match found:
                case ApiError():
                    return found
                case Problem():
                    return ApiError(found.status, found.detail, headers=found.headers)
            log.error("request %s failed", state["request_id"], exc_info=error)
            return ApiError(500, FAILED)

        return ChatStream(
            named, first, chunks, usage, wanted=asked.wants_usage, ends=ends, failed=failed,
            after=settle, headers={**telling(usage.by), **telling_of_guards(state)},
        )  # fmt: skip

    async def _whole(
        self,
        named: Named,
        chunks: AsyncGenerator[Chunk],
        usage: Usage,
        seconds: float,
        opened: Open | None,
    ) -> dict[str, Any]:
        async with asyncio.timeout(seconds), aclosing(chunks):
            choices = await collected(chunks)
        if opened:
            await guarded_whole(choices, opened)
        told = [choice.as_choice(named.kind, index) for index, choice in choices.items()]
        return named.whole(told, usage.as_json())

    def _settle(self, kind: Kind, usage: Usage, watched: Watched, state: dict[str, Any]) -> None:
        """Count what was read and written, and how, whoever is still there to hear of it."""
        self._count(usage)
        if answer := watched.answer:
            self.metrics.genai.answered(kind, answer)
        note(usage.by, state)
        if usage.read or usage.completion:
            state["usage"] = {"input_tokens": usage.read, "output_tokens": usage.completion}

    def _count(self, usage: Usage) -> None:
        self.metrics.input_tokens.inc(usage.read)
        self.metrics.output_tokens.inc(usage.completion)

    @property
    def _refusals(self) -> Refusals:
        return Refusals(self.service, self.metrics, "answer")

    def _failure(
        self, error: Exception, field: str, seconds: float, connection: Request
    ) -> Exception:
        """What is told of a failure; what nobody expected is given back as it is."""
        match error:
            case GuardFailed():
                return self.admitting.failed(error, connection)
            case ChatFailure():
                return of_failure(error, prompt=field)
            case QueueFull():
                return self._refusals.turned_away(error, seconds)
            case TooSlow() | TimeoutError():
                return self._refusals.too_slow(seconds)
            case TextTooLong():
                return ApiError(400, error.message, code=TOO_LONG, param=field)
            case Struck():
                return Problem(500, f"{FAILED} (A fault drill.)")
        return error


async def _first(chunks: AsyncGenerator[Chunk], seconds: float) -> Chunk | None:
    """The first chunk, for which there are so many seconds; None if there is none."""
    async with asyncio.timeout(seconds):
        return await anext(chunks, None)
