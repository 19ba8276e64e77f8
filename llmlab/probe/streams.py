"""A chat request under load: what is sent, and what its stream tells, piece by piece."""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from llmlab.client.events import is_stream
from llmlab.runtimes.sse import Events, TooLarge

DONE = b"[DONE]"


@dataclass(frozen=True)
class Talk:
    """What is asked of a chat model.

    Args:
        model: the route or the deployment that a request names; "" for none.
        most: tokens of an answer.
    """

    model: str = ""
    most: int = 128

    def body(self, text: str) -> dict[str, Any]:
        named = {"model": self.model} if self.model else {}
        return named | {
            "messages": [{"role": "user", "content": text}], "max_tokens": self.most,
            "stream": True, "stream_options": {"include_usage": True},
        }  # fmt: skip


@dataclass
class Streamed:
    """A stream as it came. Moments are those of ``time.perf_counter``.

    Args:
        first, last: when the first piece of text came, and the last one.
        gaps: seconds between two pieces, in their order. A piece is a token as a rule.
        ended: whether it came to its end, by the model's own words.
    """

    first: float | None = None
    last: float | None = None
    gaps: array[float] = field(default_factory=lambda: array("f"))
    tokens_in: int = 0
    tokens_out: int = 0
    cut_off: bool = False
    ended: bool = False
    model: str = ""

    def hear(self, data: bytes, now: float) -> None:
        """
        Raises:
            ValueError: this is no event of such a stream, or it tells of a failure.
        """
        if data == DONE:
            self.ended = True
            return
        chunk = json.loads(data)
        if not isinstance(chunk, dict) or "choices" not in chunk:
            raise ValueError("no chunk of an answer")
        self.model = str(chunk.get("model") or self.model)
        self._count(chunk.get("usage") or {})
        for choice in chunk["choices"]:
            self.cut_off = self.cut_off or choice.get("finish_reason") == "length"
            if choice["delta"].get("content"):
                self._note(now)

    def _count(self, usage: Mapping[str, Any]) -> None:
        self.tokens_in = int(usage.get("prompt_tokens", self.tokens_in))
        self.tokens_out = int(usage.get("completion_tokens", self.tokens_out))

    def _note(self, now: float) -> None:
        if self.last is not None:
            self.gaps.append(now - self.last)
        self.first = now if self.first is None else self.first
        self.last = now

    @property
    def whole(self) -> bool:
        return self.ended and self.first is not None


async def listen(response: httpx2.Response, streamed: Streamed) -> None:
    """Read a stream to its end, or as far as it comes. What is no stream is read whole.

    Raises:
        RequestError: the connection broke.
    """
    if not is_stream(response):
        await response.aread()
        return
    events = Events()
    try:
        async for part in response.aiter_bytes():
            now = time.perf_counter()
            for data in events.feed(part):
                streamed.hear(data, now)
    except (ValueError, KeyError, TypeError, AttributeError, TooLarge):
        streamed.ended = False
