"""What a model server streams, as clients may rely on it: one shape, whatever it was before.

Pure: chunks in, chunks out. Within these, a chunk has ``choices`` and perhaps ``usage``; what
stands around that in an answer is added by ``Named``.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from llmlab.runtimes.base import AnsweredBy
from llmlab.runtimes.chat import Chunk
from llmlab.service.spending import NOTHING, ON_ITS_WAY, Reading, Spent

Kind = Literal["chat", "text"]
OBJECTS = {"chat": ("chat.completion", "chat.completion.chunk"),
           "text": ("text_completion", "text_completion")}  # fmt: skip
PREFIXES = {"chat": "chatcmpl-", "text": "cmpl-"}
ENDS = ("stop", "length", "tool_calls", "content_filter")
KEPT = ("content", "refusal", "reasoning_content")  # of a delta


@dataclass(frozen=True, slots=True)
class Named:
    """What is the same in all chunks of an answer."""

    kind: Kind
    id: str
    created: int
    model: str
    fingerprint: str

    @classmethod
    def new(cls, kind: Kind, created: float, model: str, fingerprint: str) -> Named:
        return cls(kind, PREFIXES[kind] + uuid.uuid4().hex, int(created), model, fingerprint)

    def chunk(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return self._document(OBJECTS[self.kind][1], choices) | more

    def whole(self, choices: list[dict[str, Any]], usage: Mapping[str, Any]) -> dict[str, Any]:
        return self._document(OBJECTS[self.kind][0], choices) | {"usage": dict(usage)}

    def _document(self, what: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id, "object": what, "created": self.created, "model": self.model,
            "system_fingerprint": self.fingerprint, "choices": choices,
        }  # fmt: skip


@dataclass
class Usage:
    """Tokens of an answer, of all its parts. What a server says last of a part is what counts;
    where it did not come to that, what was seen is counted.

    Args:
        by: what wrote it, where that says so by itself.
        prompts: tokens of each prompt that was read; several choices share one.
        begun: parts that were asked for, each with the prompt that it reads; ``ended`` are those of
            them that came to their end.
        heard: bytes of text of each part. A token has one at least.
        reading: of a model that only summarizes.
        turn: seconds until the first of its parts had its turn.
    """

    prompts: dict[int, int] = field(default_factory=dict)
    written: dict[int, int] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)
    cached: dict[int, int] = field(default_factory=dict)
    by: AnsweredBy | None = None
    begun: dict[int, int] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    heard: dict[int, int] = field(default_factory=dict)
    reading: Reading | None = None
    turn: float | None = None

    def note(self, part: int, prompt: int, usage: Mapping[str, Any]) -> None:
        """Of one part of an answer, which has read that prompt."""
        if isinstance(read := usage.get("prompt_tokens"), int) and read >= 0:
            self.prompts[prompt] = read
        if isinstance(written := usage.get("completion_tokens"), int) and written >= 0:
            self.written[part] = written
        details = usage.get("prompt_tokens_details")
        if isinstance(details, dict) and isinstance(details.get("cached_tokens"), int):
            self.cached[prompt] = max(self.cached.get(prompt, 0), details["cached_tokens"])

    def saw(self, part: int) -> None:
        """A piece of text came: a token, as a rule."""
        self.seen[part] = self.seen.get(part, 0) + 1

    def hear(self, part: int, choice: Mapping[str, Any]) -> None:
        """Of what it wrote, so many bytes: whatever kind of text they are."""
        said = choice.get("delta") or choice
        texts = [said[name] for name in (*KEPT, "text") if isinstance(said.get(name), str)]
        calls = json.dumps(said["tool_calls"]) if said.get("tool_calls") else ""
        more = sum(len(one.encode()) for one in texts) + len(calls)
        self.heard[part] = self.heard.get(part, 0) + more

    def refused(self, part: int) -> None:
        """The server has said no; before it wrote anything, that costs nothing."""
        if not self.heard.get(part):
            self.begun.pop(part, None)

    def spent(self) -> Spent:
        """What is to be paid for. Of a part that broke off, what it has written at most: a server
        may write several tokens in one piece."""
        if self.reading:
            return self.reading.spent()
        if not self.begun:
            return NOTHING
        read = None if set(self.begun.values()) - self.prompts.keys() else self.read
        sure = [self.written.get(one) if one in self.ended else None for one in self.begun]
        if None not in sure:
            return Spent(read, self.completion)
        written = sum(
            self.written[one] if one in self.ended and one in self.written
            else max(self.written.get(one, 0), self.heard.get(one, 0)) + ON_ITS_WAY
            for one in self.begun
        )  # fmt: skip
        return Spent(read, written, most=True)

    @property
    def kept(self) -> bool:
        """Whether it was there already, and no model wrote it now."""
        return self.reading is not None and self.reading.place is None

    @property
    def waited(self) -> float:
        """Seconds until a model began with it."""
        place = self.reading.place if self.reading else None
        return (place.waited if place else self.turn) or 0.0

    @property
    def read(self) -> int:
        return sum(self.prompts.values())

    @property
    def completion(self) -> int:
        return sum({**self.seen, **self.written}.values())

    def as_json(self) -> dict[str, Any]:
        read, written = self.read, self.completion
        return {
            "prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written,
            "prompt_tokens_details": {"cached_tokens": sum(self.cached.values())},
        }  # fmt: skip


@dataclass
class Choice:
    """How far one choice of an answer is."""

    begun: bool = False
    ended: bool = False
    calls: int = 0


async def tidied(kind: Kind, chunks: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk]:
    """The chunks of one answer: the role in the first of each choice and nowhere else, one
    reason at the end of each, and nothing that says nothing."""
    state: dict[int, Choice] = {}
    tidy = _of_chat if kind == "chat" else _of_text
    async for chunk in chunks:
        if usage := chunk.get("usage"):
            yield {"choices": [], "usage": usage}
        for given in chunk.get("choices") or ():
            index = given.get("index") or 0
            choice = state.setdefault(index, Choice())
            if not choice.ended and (told := tidy(index, given, choice)):
                yield {"choices": [told]}
    for index, choice in state.items():
        if not choice.ended:  # a server that does not say why it ended
            yield {"choices": [_end(kind, index, choice)]}


def _of_chat(index: int, given: Mapping[str, Any], choice: Choice) -> dict[str, Any] | None:
    said = given.get("delta") or {}
    delta = {name: said[name] for name in KEPT if said.get(name)}
    if calls := said.get("tool_calls"):
        delta["tool_calls"] = [_call(number, one) for number, one in enumerate(calls)]
        choice.calls += 1
    reason = _reason(given.get("finish_reason"), choice)
    if not choice.begun:
        delta = {"role": "assistant", "content": "", **delta}
        if "tool_calls" in delta and not delta["content"]:
            delta["content"] = None
    if choice.begun and not delta and reason is None and not given.get("logprobs"):
        return None
    choice.begun, choice.ended = True, reason is not None
    return {"index": index, "delta": delta, "logprobs": given.get("logprobs"),
            "finish_reason": reason}  # fmt: skip


def _of_text(index: int, given: Mapping[str, Any], choice: Choice) -> dict[str, Any] | None:
    reason = _reason(given.get("finish_reason"), choice)
    text = given.get("text") or ""
    if not text and reason is None:
        return None
    choice.begun, choice.ended = True, reason is not None
    return {"index": index, "text": text, "logprobs": _legacy(given.get("logprobs")),
            "finish_reason": reason}  # fmt: skip


def _end(kind: Kind, index: int, choice: Choice) -> dict[str, Any]:
    given = {"finish_reason": "stop"}
    told = (_of_chat if kind == "chat" else _of_text)(index, given, choice)
    assert told
    return told


def _reason(said: Any, choice: Choice) -> str | None:
    """One of OpenAI's reasons; none for "", which some servers send until the end."""
    if not said:
        return None
    if said == "stop" and choice.calls:
        return "tool_calls"
    return said if said in ENDS else "stop"


def _call(number: int, said: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a tool call: its index a number, its arguments a text, whatever came."""
    index = said.get("index")
    call: dict[str, Any] = {"index": index if isinstance(index, int) else number}
    if said.get("id"):
        call |= {"id": str(said["id"]), "type": "function"}
    function = said.get("function") or {}
    told = {"name": function["name"]} if function.get("name") else {}
    arguments = function.get("arguments")
    if arguments is not None:
        told["arguments"] = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return call | {"function": told}


def _legacy(logprobs: Any) -> Any:
    """The log probabilities of a completion, from a chat's shape if a server sends that."""
    if not isinstance(logprobs, dict) or "content" not in logprobs:
        return logprobs
    tokens = logprobs["content"] or []
    return {
        "tokens": [one["token"] for one in tokens],
        "token_logprobs": [one["logprob"] for one in tokens],
        "top_logprobs": [
            {top["token"]: top["logprob"] for top in one.get("top_logprobs", ())} for one in tokens
        ],
        "text_offset": [],
    }
