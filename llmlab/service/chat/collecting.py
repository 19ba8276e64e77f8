"""Puts the chunks of an answer together, for clients that did not ask for a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from llmlab.runtimes.chat import Chunk
from llmlab.service.chat.chunks import Kind


@dataclass
class Collected:
    """One choice, as far as it has come."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    logprobs: dict[str, list[Any]] = field(default_factory=dict)
    reason: str | None = None

    def add(self, choice: dict[str, Any]) -> None:
        said = choice["delta"] if "delta" in choice else {"content": choice["text"]}
        for name in ("content", "refusal", "reasoning_content"):
            if said.get(name):
                self.texts.setdefault(name, []).append(said[name])
        for call in said.get("tool_calls", ()):
            self._add_call(call)
        for name, values in (choice.get("logprobs") or {}).items():
            self.logprobs.setdefault(name, []).extend(values or ())
        self.reason = choice["finish_reason"] or self.reason

    def _add_call(self, part: dict[str, Any]) -> None:
        empty = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        call = self.calls.setdefault(part["index"], empty)
        call["id"] = part.get("id") or call["id"]
        function = part["function"]
        call["function"]["name"] += function.get("name", "")
        call["function"]["arguments"] += function.get("arguments", "")

    def text(self, name: str = "content") -> str | None:
        return "".join(self.texts[name]) if name in self.texts else None

    def as_choice(self, kind: Kind, index: int) -> dict[str, Any]:
        about = {"index": index, "logprobs": self.logprobs or None, "finish_reason": self.reason}
        if kind == "text":
            return {"text": self.text() or "", **about}
        content = self.text()
        message: dict[str, Any] = {
            "role": "assistant",
            "content": content if content is not None or self.calls else "",
            "refusal": self.text("refusal"),
        }
        if thought := self.text("reasoning_content"):
            message["reasoning_content"] = thought
        if self.calls:
            message["tool_calls"] = [self.calls[number] for number in sorted(self.calls)]
        return {"message": message, **about}


async def collected(chunks: AsyncIterator[Chunk]) -> dict[int, Collected]:
    """{index: choice}, whole."""
    found: dict[int, Collected] = {}
    async for chunk in chunks:
        for choice in chunk["choices"]:
            found.setdefault(choice["index"], Collected()).add(choice)
    return dict(sorted(found.items()))
