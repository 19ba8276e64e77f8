"""How a chat model is asked for a summary: by a prompt, in the window that is left beside it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from llmlab.runtimes.base import AnsweredBy, Encoded, Encoder, Generation, Strategy, Summary
from llmlab.runtimes.chat import ModelServer
from llmlab.runtimes.decoding import too_long
from llmlab.runtimes.prompt import Prompt

# A summary is the same for the same text, unless the model's own decoding says otherwise.
GREEDY: Mapping[str, Any] = {"temperature": 0}
# Counted text by text and then put together, texts may have a few tokens more.
SEAMS = 8
CUTS = 20  # tries to cut a text so that it fits


class Prompted(Encoder):
    """
    Args:
        max_length, min_length: of a summary in tokens, where a request does not say.
        decoding: the model's own defaults, as fields of a request.
    """

    def __init__(
        self,
        server: ModelServer,
        prompt: Prompt,
        *,
        max_length: int,
        min_length: int,
        decoding: Mapping[str, Any],
    ) -> None:
        self._server, self._prompt = server, prompt
        self._max_length, self._min_length = max_length, min_length
        self._decoding = {**GREEDY, **decoding}
        self._said = lru_cache(64)(self._count_said)

    def encode(self, text: str, generation: Generation) -> Encoded:
        longest = generation.max_length or self._max_length
        shortest = generation.min_length
        shortest = min(longest, self._min_length) if shortest is None else shortest
        # Never more than half of the context, or nothing would be left to be read.
        half = self._server.context // 2
        longest, usual = min(longest, half), min(self._max_length, half)
        said = self._said(longest, shortest)
        # One that holds a shorter answer as well: what is cut for it is not cut again.
        window = self._server.context - max(longest, usual)
        length = said + self._server.count_text(text)
        read, whole = length, length
        if length > window:
            if generation.strategy is not Strategy.TRUNCATE:
                raise too_long(length, window)
            text, read = self._cut(text, said, length, window)
        messages = self._prompt.messages(text, max_length=longest, min_length=shortest)
        body = {**self._decoding, "messages": messages, "max_tokens": longest}
        return Encoded(body, read, whole, window, None, longest)

    async def write(self, encoded: Encoded) -> Summary:
        """The model's answer.

        Raises:
            ChatFailure: as ``ModelServer.stream`` does.
        """
        text: list[str] = []
        usage: Mapping[str, Any] = {}
        by: AnsweredBy | None = None
        async with self._server.stream("chat/completions", encoded.content, whole=True) as chunks:
            async for chunk in chunks:
                by = by or self._server.answered_by(chunk)
                usage = chunk.get("usage") or usage
                text += [
                    choice["delta"].get("content") or "" for choice in chunk.get("choices", ())
                ]
        return Summary(
            text="".join(text).strip(),
            input_tokens=int(usage.get("prompt_tokens", encoded.tokens)),
            output_tokens=int(usage.get("completion_tokens", len(text))),
            truncated=encoded.truncated,
            by=by,
        )

    def _count_said(self, longest: int, shortest: int) -> int:
        """Tokens of the prompt without a text."""
        messages = self._prompt.messages("", max_length=longest, min_length=shortest)
        return self._server.count_prompt(messages) + SEAMS

    def _cut(self, text: str, said: int, length: int, window: int) -> tuple[str, int]:
        """The beginning of a text that fits, and its length with the prompt."""
        for _ in range(CUTS):
            if length <= window:
                break
            text = text[: max(1, int(len(text) * (window - said) / (length - said)) - 1)]
            length = said + self._server.count_text(text)
        return text, length
