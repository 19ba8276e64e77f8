"""What an answer is like, seen where its chunks come from the model: when its first token came, how
long it paused, and how it ended.

Only the time in which a chunk is waited for counts. What its client takes to read it, and what
guards do with it, comes after that.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from starlette.types import Scope

from llmlab.answered import Answer, Refusal
from llmlab.json_schemas import LONGEST
from llmlab.runtimes.chat import Chunk
from llmlab.service.chat.chunks import Usage
from llmlab.service.chat.formats import Format
from llmlab.service.chat.looking import LOOKING

OPENING = 160  # characters in which a refusal says that it is one
# How models of these languages begin to refuse. A guess: whoever tells of somebody else's refusal
# begins so as well, and of other languages nothing is known.
REFUSES = re.compile(
    r"\s*(?:"
    r"(?:i['’]m sorry|i am sorry|sorry|i apologi[sz]e|unfortunately)\b.{0,40}?\bi\b.{0,20}?"
    r"\b(?:can['’]?t|cannot|can not|am (?:not able|unable)|['’]m (?:not able|unable)|won['’]t)\b"
    r"|i (?:cannot|can['’]t|can not|won['’]t|am (?:not able|unable) to|must decline to) "
    r"(?:assist|help|provide|comply|fulfil|do that|answer|create|support|continue)"
    r"|as an ai\b.{0,60}?\b(?:cannot|can['’]t|not able|unable)\b"
    r"|(?:es tut mir leid|tut mir leid|entschuldigung|leider)\b.{0,60}?\bkann\b.{0,60}?\bnicht\b"
    r"|ich kann (?:dir|ihnen|dabei|das|diese)\b.{0,60}?\bnicht\b"
    r"|(?:je suis désolée?|désolée?)\b.{0,60}?\bne (?:peux|puis)\b"
    r"|(?:lo siento|lo lamento)\b.{0,60}?\bno puedo\b"
    r")",
    re.IGNORECASE | re.DOTALL,
)


def refuses(text: str) -> bool:
    """Whether a text begins as refusals do."""
    return REFUSES.match(text[:OPENING]) is not None


@dataclass
class _Choice:
    """How far one choice has come; what it says only where somebody looks at it."""

    opening: str = ""
    texts: list[str] = field(default_factory=list)
    calls: dict[int, list[str]] = field(default_factory=dict)  # name and arguments
    size: int = 0
    refused: bool = False
    reason: str = ""


@dataclass
class Watched:
    """
    Args:
        usage: of the same answer.
        streams: its client reads it as it comes.
        format: that it is to have; None for any.
        first: called with the seconds until its first token, its wait for a turn included.
    """

    usage: Usage
    streams: bool
    format: Format | None = None
    first: Callable[[float], object] = lambda _: None
    clock: Callable[[], float] = time.perf_counter
    _choices: dict[int, _Choice] = field(default_factory=dict)
    _waited: float = 0.0
    _first: float | None = None
    _last: float = 0.0
    _gap: float | None = None
    _left: bool = False  # whoever reads it wanted no more
    _invalid: bool | None = None

    async def chunks(self, chunks: AsyncGenerator[Chunk]) -> AsyncGenerator[Chunk]:
        """The same chunks."""
        async with aclosing(chunks):
            while True:
                since = self.clock()
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    break
                except asyncio.CancelledError:  # its client has gone, unless ``ran_out`` is told
                    self._left = True
                    raise
                finally:
                    self._waited += self.clock() - since
                for choice in chunk["choices"]:
                    self._take(choice)
                try:
                    yield chunk
                except GeneratorExit:
                    self._left = not self._ended
                    raise
        if self.format and self._ended:
            self._invalid = await LOOKING.at(partial(self._looked_at, self.format))

    def ran_out(self) -> None:
        """It was cancelled since it took longer than the service gives to any."""
        self._left = False

    @property
    def answer(self) -> Answer | None:
        """None of one of which nothing has come."""
        if not self._choices:
            return None
        waited = min(self.usage.waited, self._first or 0.0)
        timed = self.streams and self._first is not None and not self.usage.kept
        return Answer(
            first=self._first - waited if timed and self._first is not None else None,
            gap=self._gap if timed else None,
            writing=self._last - self._first if timed and self._first is not None else None,
            tokens=self.usage.completion,
            cut_off=None if self._left else not self._ended or self._is("length"),
            refusal=self._refusal,
            invalid=self._invalid,
        )  # fmt: skip

    @property
    def _ended(self) -> bool:
        return all(one.reason for one in self._choices.values())

    def _is(self, reason: str) -> bool:
        return any(one.reason == reason for one in self._choices.values())

    @property
    def _refusal(self) -> Refusal:
        choices = self._choices.values()
        if any(one.refused or one.reason == "content_filter" for one in choices):
            return "field"
        return "words" if any(refuses(one.opening) for one in choices) else ""

    def _take(self, given: Mapping[str, Any]) -> None:
        choice = self._choices.setdefault(given["index"], _Choice())
        said = given.get("delta", given)
        text = said.get("content") or said.get("text") or ""
        choice.reason = given["finish_reason"] or choice.reason
        choice.refused |= bool(said.get("refusal"))
        if len(choice.opening) < OPENING:
            choice.opening += text[:OPENING]
        if text or any(said.get(one) for one in ("tool_calls", "refusal", "reasoning_content")):
            self._came()
        if self.format and choice.size <= LONGEST:
            choice.size += len(text)
            choice.texts.append(text)
            for call in said.get("tool_calls") or ():
                parts = choice.calls.setdefault(call["index"], ["", ""])
                more = call["function"].get("arguments") or ""
                parts[0] += call["function"].get("name") or ""
                parts[1] += more
                choice.size += len(more)

    def _came(self) -> None:
        """A token has."""
        if self._first is None:
            self._first = self._waited
            self.first(self._waited)
        else:
            self._gap = max(self._gap or 0.0, self._waited - self._last)
        self._last = self._waited

    def _looked_at(self, wanted: Format) -> bool | None:
        """Whether one of the choices is of another form. One that was cut off, or refused, is
        counted as that."""
        found = [
            wanted.broken_by(
                "".join(one.texts),
                ((name, said) for name, said in one.calls.values()),
                share=len(self._choices),
            )
            for one in self._choices.values()
            if one.reason in ("stop", "tool_calls") and not one.refused
        ]
        known = [one for one in found if one is not None]
        return any(known) if known else None


def watch(scope: Scope, watched: Watched) -> None:
    """From here on this is what the gateway is told of the answer."""
    scope["state"]["watched"] = watched


def word_of(scope: Scope) -> str:
    """What is told of the answer to a request; "" where there is nothing to be told."""
    watched: Watched | None = scope.get("state", {}).get("watched")
    answer = watched.answer if watched else None
    return str(answer) if answer else ""
