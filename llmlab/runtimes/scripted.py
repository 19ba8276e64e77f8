"""The runtime ``scripted``: no model, but a witness for probes and tests. It does what a request
asks of it, and tells what of a request came as far as this.

A user's last message that is a JSON object with these fields is its script; any other is said
again, word by word:

    say           text that it writes
    tell          instead: "request", what the API heard of this request beside its body;
                  "seen" or "left", whether `of` has been asked, or was left before its end;
                  "number", another one each time
    of            the word that `seen` and `left` look for
    mark          a word by which `seen` and `left` know this request
    wait, pause   seconds before the first word, and between two of them
    break_after   words after which it breaks off; 0 before the first
    refuse        the status with which it says no

Its tokens are words, and counted exactly. Nobody gets it who has not put it under a name in
lab.toml.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmlab.errors import unreadable
from llmlab.runtimes.chat import Abilities, Body, BrokenOff, Chunk, Message, ModelServer, Path
from llmlab.runtimes.chat import Refused as Refusal

VERSION = 1  # of what it does: a part of its content id
CONTEXT, SLOTS = 8192, 256  # where lab.toml says nothing
REMEMBERED = 10_000  # marks
HEARD = "heard"  # a field of what it is asked: what the API heard beside the body
WORD = re.compile(r"\s*\S+\s*")


class Script(BaseModel):
    """What a request asks of it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    say: str | None = None
    tell: str = Field("", pattern=r"^(request|seen|left|number)?$")
    of: str = Field("", max_length=200)
    mark: str = Field("", max_length=200)
    wait: float = Field(0, ge=0, le=60)
    pause: float = Field(0, ge=0, le=5)
    break_after: int | None = Field(None, ge=0, le=1000)
    refuse: int | None = Field(None, ge=400, le=599)

    @classmethod
    def of_text(cls, text: str) -> Script:
        """
        Raises:
            ValidationError: it is an object, but no script.
        """
        if not text.lstrip().startswith("{"):
            return cls(say=text)
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            return cls(say=text)
        return cls.model_validate(said) if isinstance(said, dict) else cls(say=text)


class Scripted(ModelServer):
    """Answers in this process, without a wire to any server.

    Args:
        context, slots: as in lab.toml; 0 for its own.
    """

    warms_up = False

    def __init__(self, *, context: int = 0, slots: int = 0) -> None:
        # Not the parent's: there is no client to be had.
        self.model = "scripted"
        self.context, self.slots = context or CONTEXT, slots or SLOTS
        self.abilities = Abilities(tools=True)
        self._seen: deque[str] = deque(maxlen=REMEMBERED)
        self._left: deque[str] = deque(maxlen=REMEMBERED)
        self._numbers = itertools.count(1)

    @asynccontextmanager
    async def stream(
        self, path: Path, body: Body, *, whole: bool = False
    ) -> AsyncGenerator[AsyncIterator[Chunk]]:
        del whole
        text = said_last(body) if path == "chat/completions" else str(body.get("prompt", ""))
        try:
            script = Script.of_text(text)
        except ValidationError as error:
            why = f"this is no script: {unreadable(error)}"
            raise Refusal(why, status=400, kind="invalid_request_error", param="messages") from None
        if script.mark:
            self._seen.append(script.mark)
        try:
            await asyncio.sleep(script.wait)
            if script.refuse is not None:
                raise Refusal("as it was asked", status=script.refuse, kind="scripted")
            if script.break_after == 0:
                raise BrokenOff("as it was asked", begun=False)
            async with aclosing(self._chunks_of(path, body, script)) as chunks:
                yield chunks
        except (asyncio.CancelledError, GeneratorExit):
            if script.mark:
                self._left.append(script.mark)
            raise

    async def _chunks_of(self, path: Path, body: Body, script: Script) -> AsyncGenerator[Chunk]:
        words, reason = limited(self._answer(script, body.get(HEARD)), body)
        for number, word in enumerate(words):
            if number:
                await asyncio.sleep(script.pause)
            if number == script.break_after:
                raise BrokenOff("as it was asked", begun=True)
            yield chunk(path, word, None)
        read = sum(len(WORD.findall(one)) for one in texts_of(body))
        usage = {"prompt_tokens": read, "completion_tokens": len(words),
                 "total_tokens": read + len(words)}  # fmt: skip
        yield chunk(path, "", reason) | {"usage": usage}

    def _answer(self, script: Script, heard: object) -> str:
        match script.tell:
            case "request":
                return json.dumps(heard, ensure_ascii=False)
            case "seen":
                return "yes" if script.of in self._seen else "no"
            case "left":
                return "yes" if script.of in self._left else "no"
            case "number":
                return f"{next(self._numbers)}"
        return script.say or ""

    async def ask(self, path: str, body: Body) -> dict[str, Any]:
        del path, body
        raise Refusal("a script has no embeddings", status=400, kind="invalid_request_error")

    def count_text(self, text: str) -> int:
        return len(WORD.findall(text))

    def count_prompt(self, messages: Sequence[Message]) -> int:
        return sum(self.count_text(str(one.get("content") or "")) for one in messages)

    async def close(self) -> None:
        """There is nothing to end."""


def texts_of(body: Body) -> Iterator[str]:
    """All that a request says to the model."""
    yield from (str(one.get("content") or "") for one in body.get("messages") or ())
    if "prompt" in body:
        yield str(body["prompt"])


def said_last(body: Body) -> str:
    """The last message of the user."""
    users = [one for one in body.get("messages") or () if one.get("role") == "user"]
    return str(users[-1].get("content") or "") if users else ""


def limited(text: str, body: Body) -> tuple[list[str], str]:
    """The words of an answer, and why it ends: as far as ``stop`` and ``max_tokens`` let it."""
    reason, stop = "stop", body.get("stop") or []
    for one in [stop] if isinstance(stop, str) else stop:
        text = text.partition(one)[0]
    words = WORD.findall(text)
    most = body.get("max_tokens")
    if isinstance(most, int) and len(words) > most:
        words, reason = words[:most], "length"
    return words, reason


def chunk(path: Path, text: str, reason: str | None) -> Chunk:
    said: dict[str, Any]
    said = {"delta": {"content": text}} if path == "chat/completions" else {"text": text}
    return {"choices": [{"index": 0, **said, "finish_reason": reason}]}
