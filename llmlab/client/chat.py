"""A conversation with a model, without the I/O: what is sent, and what the events of a stream
mean. The dialect is OpenAI's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from llmlab.client.events import BrokenOff
from llmlab.client.protocol import checked_name
from llmlab.client.retry import Attempts
from llmlab.errors import UpstreamError, UsageError
from llmlab.service.schemas import DEPLOYMENT

Message = Mapping[str, Any]
PATH = "/v1/chat/completions"
DONE = "[DONE]"
# What may be said of how the model writes, as OpenAI calls it.
OPTIONS = ("temperature", "top_p", "max_tokens", "seed", "stop", "response_format",
           "frequency_penalty", "presence_penalty", "logit_bias", "reasoning_effort")  # fmt: skip


@dataclass(frozen=True)
class Tokens:
    """What a conversation cost, in the model's tokens."""

    prompt: int = 0
    completion: int = 0


@dataclass(frozen=True)
class Reply:
    """What a model has said. ``str()`` gives the text.

    Args:
        model: the name that was asked for, or that the lab chose.
        finish_reason: stop; length: it was cut off by ``max_tokens``; content_filter.
        fingerprint: the deployment, and the content id of its model version.
        deployment: the one that the gateway asked; "" without a gateway.
        redacted: whether a guard has changed what was asked before the model read it.
    """

    text: str
    model: str
    finish_reason: str
    usage: Tokens
    fingerprint: str = ""
    request_id: str = ""
    deployment: str = ""
    redacted: bool = False

    def __str__(self) -> str:
        return self.text


def messages_of(said: str | Sequence[Message], system: str = "") -> list[Message]:
    """A conversation: one question, or all that was said so far.

    Raises:
        UsageError: nothing was said.
    """
    messages: list[Message] = (
        [{"role": "user", "content": said}] if isinstance(said, str) else list(said)
    )
    if not messages or (isinstance(said, str) and not said.strip()):
        raise UsageError("there is nothing to answer", fix='llmlab chat "A question?"')
    return [{"role": "system", "content": system}, *messages] if system else messages


def body_of(
    messages: Sequence[Message],
    *,
    model: str | None,
    json_schema: Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """The JSON body; what is not given is left to the model version's defaults."""
    unknown = sorted(options.keys() - set(OPTIONS))
    if unknown:
        raise UsageError(f"chat knows no {', '.join(unknown)}, only {', '.join(OPTIONS)}")
    body: dict[str, Any] = {
        "messages": list(messages), "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    body |= {"model": checked_name(model)} if model else {}
    body |= {name: value for name, value in options.items() if value is not None}
    if json_schema is not None:  # in place of a response_format
        named = {"name": "answer", "strict": True, "schema": dict(json_schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    return body


@dataclass
class Talking:
    """One answer, as it comes.

    Args:
        head: the response whose body it is.
        attempts: after the first word there is no other one.
    """

    head: httpx2.Response
    attempts: Attempts
    _parts: list[str] = field(default_factory=list)
    _told: dict[str, Any] = field(default_factory=dict)
    _ended: bool = False

    def hear(self, event: httpx2.ServerSentEvent) -> str:
        """The piece of text that an event brings; "" for one that brings none.

        Raises:
            SSEError: this is no event of such a stream.
            UpstreamError: it tells that the model failed.
        """
        if self._ended:
            raise httpx2.SSEError("an event after the last one")
        if event.data == DONE:
            self._ended = True
            return ""
        try:
            chunk = json.loads(event.data)
            if error := chunk.get("error"):
                raise UpstreamError(f"the model broke off: {error['message']}", fix="llmlab logs")
            for name in ("model", "system_fingerprint", "usage"):
                if chunk.get(name):
                    self._told[name] = chunk[name]
            if not chunk["choices"]:
                return ""
            choice = chunk["choices"][0]
            if choice["finish_reason"]:
                self._told["finish_reason"] = str(choice["finish_reason"])
            piece = str(choice["delta"].get("content") or "")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise httpx2.SSEError(f"an event with {event.data[:80]!r}") from None
        self.attempts.begun = self.attempts.begun or bool(piece)
        self._parts.append(piece)
        return piece

    def reply(self) -> Reply:
        """What was said.

        Raises:
            BrokenOff: the stream ended before its end.
        """
        if not self._ended or "finish_reason" not in self._told:
            raise BrokenOff("the stream ended before the answer did")
        usage = self._told.get("usage", {})
        return Reply(
            "".join(self._parts), str(self._told.get("model", "")), self._told["finish_reason"],
            Tokens(int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))),
            str(self._told.get("system_fingerprint", "")),
            self.head.headers.get("X-Request-ID", ""), self.head.headers.get(DEPLOYMENT, ""),
            redacted=self.head.headers.get("X-Guard") == "redacted",
        )  # fmt: skip
