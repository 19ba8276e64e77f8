"""A chat model's answer to a request: what its server is asked, and what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from llmlab.runtimes.chat import Chunk, ModelServer, Path, Refused, Unreachable
from llmlab.service.aside import is_aside, subject_of
from llmlab.service.chat import tools
from llmlab.service.chat.chunks import Usage
from llmlab.service.chat.errors import UNSUPPORTED, ApiError, cannot
from llmlab.service.chat.merging import merged
from llmlab.service.chat.schemas import (
    Asked,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Message,
)
from llmlab.service.turns import Turns
from llmlab.service.waiting import Place

EFFORTS_OF_NONE = ("none", "minimal")
PARTS_OF_TEXT = ("text", "refusal")
# Whoever fetches them is the provider, never the lab; no server is asked for a file of its own.
PICTURES = ("https://", "http://", "data:image/")


@dataclass(frozen=True, slots=True)
class Part:
    """One request to the model's server, and where its choices stand in the answer.

    Args:
        prompt: the number of the prompt that it reads.
        first: the index of its first choice.
        whole: nobody reads it before its end.
    """

    path: Path
    body: Mapping[str, Any]
    prompt: int = 0
    first: int = 0
    whole: bool = False


@dataclass(frozen=True)
class Talking:
    """
    Args:
        decoding: what it decodes by where a request does not say.
    """

    server: ModelServer
    turns: Turns
    decoding: Mapping[str, Any]

    # --- what the server is asked ------------------------------------------------

    def of_chat(self, asked: ChatRequest) -> list[Part]:
        """
        Raises:
            ApiError: the model cannot honour it.
        """
        self._refuse(asked)
        body = {**self._decoded(asked), **self._wanted(asked)}
        body["messages"] = [self._sent(n, one) for n, one in enumerate(asked.messages)]
        if self._tools_done_here(asked):
            body["response_format"] = tools.as_schema(asked)
            said = tools.spoken(asked.messages)
            body["messages"] = tools.with_description(said, tools.described(asked))
        return list(self._multiplied("chat/completions", body, asked, 0))

    def of_completion(self, asked: CompletionRequest) -> list[Part]:
        """
        Raises:
            ApiError: the model cannot honour it.
        """
        for name in ("echo", "suffix"):
            if getattr(asked, name):
                raise cannot(name, f"{name} is nothing that this model can do.")
        if asked.best_of not in (None, 1, asked.n):
            raise cannot("best_of", "This model chooses none of its answers: best_of has to be n.")
        body = self._decoded(asked)
        if asked.logprobs is not None:
            body["logprobs"] = asked.logprobs
        return [
            part
            for number, prompt in enumerate(asked.prompts)
            for part in self._multiplied("completions", {**body, "prompt": prompt}, asked, number)
        ]

    def _tools_done_here(self, asked: ChatRequest) -> bool:
        return asked.offers_tools and not self.server.abilities.tools

    def _multiplied(
        self, path: Path, body: Mapping[str, Any], asked: Asked, prompt: int
    ) -> Iterator[Part]:
        """A request for each choice, or one for all where the server can do that: some count
        their tokens once for each, or have fewer slots than there are choices."""
        choices, whole = asked.choices, not asked.stream
        first = prompt * choices
        if choices == 1:
            yield Part(path, body, prompt, first, whole)
        elif self.server.abilities.choices:
            yield Part(path, {**body, "n": choices}, prompt, first, whole)
        else:
            for number in range(choices):
                # The same seed would give the same answer.
                seed = {"seed": body["seed"] + number} if "seed" in body else {}
                yield Part(path, {**body, **seed}, prompt, first + number, whole)

    def _decoded(self, asked: ChatRequest | CompletionRequest) -> dict[str, Any]:
        said = {**self.decoding, **asked.sampling()}
        if asked.most is not None:
            said["max_tokens"] = asked.most
        return said

    def _wanted(self, asked: ChatRequest) -> dict[str, Any]:
        """What it says beside how it is to be decoded."""
        names = ["logprobs", "top_logprobs", "response_format"]
        if self.server.abilities.reasoning:
            names.append("reasoning_effort")
        if self.server.abilities.tools and asked.tools:
            names += ["tools", "tool_choice", "parallel_tool_calls"]
        return asked.model_dump(include=set(names), exclude_none=True, by_alias=True)

    def _refuse(self, asked: ChatRequest) -> None:
        """Raises ApiError: it has a field that this model cannot honour."""
        able = self.server.abilities
        if asked.modalities and asked.modalities != ["text"]:
            raise cannot("modalities", "This model writes text only.")
        effort = asked.reasoning_effort
        if effort and not able.reasoning and effort not in EFFORTS_OF_NONE:
            raise cannot("reasoning_effort", "This model does not think before it answers.")

    def _sent(self, number: int, message: Message) -> dict[str, Any]:
        """A message as the server reads it. Several parts of text are one text to it, unless
        it reads more than text."""
        said = message.model_dump(exclude_none=True)
        if not isinstance(message.content, list):
            return said
        for place, part in enumerate(message.content):
            if part.type in PARTS_OF_TEXT:
                continue
            where = f"messages[{number}].content[{place}]"
            if not (self.server.abilities.images and part.type == "image_url"):
                raise cannot(
                    f"{where}.type", f"This model reads text only, and no {part.type[:40]}."
                )
            if not part.picture.lower().startswith(PICTURES):
                why = "A picture is a URL that begins with https:, http: or data:image/."
                raise ApiError(400, why, code="invalid_value", param=f"{where}.image_url")
        if not self.server.abilities.images:
            said["content"] = message.text
        return said

    # --- what comes of it --------------------------------------------------------

    def chunks(
        self, parts: list[Part], place: Place, usage: Usage, *, calls: bool = False
    ) -> AsyncGenerator[Chunk]:
        """What the server streams for these, in the order in which it comes.

        Args:
            usage: is told of the tokens, to the end or as far as it comes.
            calls: the tools are done here.

        Raises:
            ChatFailure: of the first part that fails; the others are stopped.
        """
        streams = [self._part(part, number, place, usage) for number, part in enumerate(parts)]
        together = merged(streams)
        return tools.as_calls(together) if calls else together

    async def _part(
        self, part: Part, number: int, place: Place, usage: Usage
    ) -> AsyncGenerator[Chunk]:
        asking = self.server.stream(part.path, part.body, whole=part.whole)
        async with self.turns.turn(place):
            usage.begun[number] = part.prompt
            usage.turn = place.waited
            try:
                async with asking as chunks:
                    async for chunk in chunks:
                        self._note(part, number, chunk, usage)
                        yield chunk
            except (Refused, Unreachable):
                usage.refused(number)
                raise
            usage.ended.add(number)

    def _note(self, part: Part, number: int, chunk: Chunk, usage: Usage) -> None:
        usage.by = usage.by or self.server.answered_by(chunk)
        if said := chunk.get("usage"):
            usage.note(number, part.prompt, said)
        for choice in chunk.get("choices") or ():
            choice["index"] = part.first + (choice.get("index") or 0)
            if (choice.get("delta") or choice).get("content") or choice.get("text"):
                usage.saw(number)
            usage.hear(number, choice)

    # --- as a backend ------------------------------------------------------------

    def chat(
        self, asked: ChatRequest, connection: Request, seconds: float, usage: Usage
    ) -> AsyncGenerator[Chunk]:
        parts, here = self.of_chat(asked), self._tools_done_here(asked)
        return self._placed(parts, connection, seconds, usage, here)

    def completion(
        self, asked: CompletionRequest, connection: Request, seconds: float, usage: Usage
    ) -> AsyncGenerator[Chunk]:
        return self._placed(self.of_completion(asked), connection, seconds, usage, False)

    async def embeddings(
        self, asked: EmbeddingRequest, connection: Request, seconds: float
    ) -> dict[str, Any]:
        if not self.server.abilities.embeddings:
            said = "This model gives no embeddings."
            raise ApiError(400, said, code=UNSUPPORTED, param="model")
        if asked.dimensions is not None:
            raise cannot("dimensions", "This model's embeddings have the length that they have.")
        place = self.turns.enter(subject_of(connection), seconds)
        try:
            async with asyncio.timeout(seconds), self.turns.turn(place):
                body = {"input": asked.input, "encoding_format": asked.encoding_format}
                return await self.server.ask("embeddings", body)
        finally:
            self.turns.leave(place)

    async def _placed(
        self, parts: list[Part], connection: Request, seconds: float, usage: Usage, calls: bool
    ) -> AsyncGenerator[Chunk]:
        if is_aside(connection):
            place = self.turns.enter_aside(subject_of(connection))
        else:
            place = self.turns.enter(subject_of(connection), seconds, len(parts))
        try:
            async with aclosing(self.chunks(parts, place, usage, calls=calls)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self.turns.leave(place)
