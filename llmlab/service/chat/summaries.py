"""Models that only summarize, asked as a chat: the last message of the user is the text.

What they cannot do is refused where it would change what the answer means. How to sample is
passed over: they do not sample, and what they write is one of the answers that were allowed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from llmlab.bounds import LONGEST_SUMMARY
from llmlab.runtimes.chat import Chunk
from llmlab.service.aside import is_aside, subject_of
from llmlab.service.chat.chunks import Usage
from llmlab.service.chat.errors import UNSUPPORTED, ApiError, cannot
from llmlab.service.chat.schemas import Asked, ChatRequest, CompletionRequest, EmbeddingRequest
from llmlab.service.preset import Told
from llmlab.service.schemas import SummarizeRequest
from llmlab.service.spending import Reading
from llmlab.service.summarizer import Summarizer

WHY = "This model only summarizes."


@dataclass(frozen=True)
class Summaries:
    """
    Args:
        longest: characters of a text that this lab takes.
    """

    summarizer: Summarizer
    told: Told
    longest: int

    async def chat(
        self, asked: ChatRequest, connection: Request, seconds: float, usage: Usage
    ) -> AsyncGenerator[Chunk]:
        _refuse(asked)
        if asked.offers_tools:
            raise cannot("tools", f"{WHY} It calls no tools.")
        if asked.response_format and asked.response_format.type != "text":
            raise cannot("response_format", f"{WHY} It cannot be held to a format.")
        said = [number for number, one in enumerate(asked.messages) if one.role == "user"]
        if not said:
            why = f"{WHY} Its text is the last message of the user, and there is none."
            raise ApiError(400, why, param="messages")
        last = asked.messages[said[-1]]
        if isinstance(last.content, list):
            for place, part in enumerate(last.content):
                if part.type != "text":
                    where = f"messages[{said[-1]}].content[{place}].type"
                    raise cannot(where, f"{WHY} It reads text, and no {part.type[:40]}.")
        text = await self._summary(asked, last.text, "messages", connection, seconds, usage)
        yield {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
        yield {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}

    async def completion(
        self, asked: CompletionRequest, connection: Request, seconds: float, usage: Usage
    ) -> AsyncGenerator[Chunk]:
        _refuse(asked)
        if not isinstance(asked.prompt, str):
            raise cannot("prompt", f"{WHY} It takes one text.")
        for name in ("echo", "suffix", "best_of"):
            if getattr(asked, name) not in (None, False, 1):
                raise cannot(name, f"{WHY} {name} means nothing to it.")
        text = await self._summary(asked, asked.prompt, "prompt", connection, seconds, usage)
        yield {"choices": [{"index": 0, "text": text, "finish_reason": "stop"}]}

    async def _summary(
        self,
        asked: ChatRequest | CompletionRequest,
        text: str,
        param: str,
        connection: Request,
        seconds: float,
        usage: Usage,
    ) -> str:
        if not text.strip():
            raise ApiError(400, "The text is empty or blank.", code="invalid_value", param=param)
        if len(text) > self.longest:
            said = (f"The text has {len(text)} characters; this lab takes {self.longest} "
                    "(service.max_text_chars).")  # fmt: skip
            raise ApiError(413, said, param=param)
        longest = None if asked.most is None else min(asked.most, LONGEST_SUMMARY)
        request = SummarizeRequest(text=text, max_length=longest)
        usage.reading = Reading()
        answer = await self.summarizer.summarize(
            text,
            self.told.preset(connection.headers).applied_to(request),
            subject=subject_of(connection),
            aside=is_aside(connection),
            seconds=seconds,
            fresh="no-cache" in connection.headers.get("cache-control", "").lower(),
            reading=usage.reading,
        )
        tokens = {"prompt_tokens": answer.summary.input_tokens,
                  "completion_tokens": answer.summary.output_tokens}  # fmt: skip
        usage.note(0, 0, tokens)
        return answer.summary.text

    async def embeddings(
        self, asked: EmbeddingRequest, connection: Request, seconds: float
    ) -> dict[str, Any]:
        raise ApiError(400, f"{WHY} It gives no embeddings.", code=UNSUPPORTED, param="model")


def _refuse(asked: Asked) -> None:
    """Raises ApiError: it has a field that no summarizer can honour."""
    if asked.choices > 1:
        raise cannot("n", f"{WHY} It has one summary of a text.")
    for name in ("stop", "logit_bias", "logprobs", "frequency_penalty", "presence_penalty"):
        if getattr(asked, name, None):
            raise cannot(name, f"{WHY} {name} means nothing to it.")
