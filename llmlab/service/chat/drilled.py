"""What a fault drill does to an answer in OpenAI's dialect, chunk by chunk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from llmlab.runtimes.chat import Chunk
from llmlab.service.chat.chunks import KEPT, Kind, tidied
from llmlab.service.chat.collecting import collected
from llmlab.service.drill import Drill, spoiled, strike
from llmlab.service.drill import Kind as Fault
from llmlab.service.other_language import OtherLanguage
from llmlab.service.summarizer import TooSlow

SPOILING = (Fault.WORSE_TEXT, Fault.EMPTY, Fault.REPEAT, Fault.INVENT)
PIECES, WORDS = 3, 12  # of an answer that is cut off, and words of each
REFUSAL = "I'm sorry, but I can't help with that."
# The chunks of an answer, given the seconds that there are.
Make = Callable[[float], AsyncGenerator[Chunk]]


async def drilled(
    kind: Kind, drill: Drill | None, make: Make, seconds: float, asked: str = ""
) -> AsyncGenerator[Chunk]:
    """The chunks of an answer, after what a drill does to it.

    Args:
        asked: what it answers.

    Raises:
        TooSlow: the drill alone takes longer than its client waits.
        Struck: it is to fail.
    """
    left = await strike(drill, seconds)
    if not left:
        raise TooSlow
    fault = drill.kind if drill else None
    if fault is Fault.REFUSALS:
        yield _one(kind, 0, REFUSAL, "stop", "refusal")
        return
    async with aclosing(make(left)) as chunks:
        match drill, fault:
            case Drill(), Fault.LATE | Fault.STALLS:
                told = _held(chunks, drill.seconds, after=fault is Fault.STALLS)
            case _, Fault.TRUNCATED:
                told = _cut(kind, chunks)
            case _, Fault.OTHER_LANGUAGE:
                told = _in_other_language(chunks, asked)
            case Drill(), _ if fault in SPOILING:
                told = _spoiled(kind, chunks, drill)
            case _:
                told = chunks
        async with aclosing(told):
            async for chunk in told:
                yield chunk


async def _held(
    chunks: AsyncGenerator[Chunk], seconds: float, *, after: bool
) -> AsyncGenerator[Chunk]:
    """A pause before the first token, or after it."""
    waits = True
    async for chunk in chunks:
        says = any(_text(one) for one in chunk.get("choices") or ())
        if waits and says and not after:
            await asyncio.sleep(seconds)
            waits = False
        yield chunk
        if waits and says:
            await asyncio.sleep(seconds)
            waits = False


async def _cut(kind: Kind, chunks: AsyncGenerator[Chunk]) -> AsyncGenerator[Chunk]:
    """The first pieces of each choice, which ends then as at a limit of tokens."""
    pieces: dict[int, int] = {}
    async for chunk in chunks:
        if chunk.get("usage"):
            yield {"choices": [], "usage": chunk["usage"]}
        for choice in chunk.get("choices") or ():
            index = choice.get("index") or 0
            text = _text(choice)
            if pieces.get(index, 0) < PIECES and (text or choice.get("finish_reason")):
                ends = bool(choice.get("finish_reason"))
                pieces[index] = PIECES if ends else pieces.get(index, 0) + 1
                over = pieces[index] == PIECES
                words = text.split(" ")
                yield _one(kind, index, " ".join(words[:WORDS]), "length" if over else None)


async def _in_other_language(chunks: AsyncGenerator[Chunk], asked: str) -> AsyncGenerator[Chunk]:
    """As many chunks, each of them when it would have come."""
    choices: dict[int, OtherLanguage] = {}
    async for chunk in chunks:
        told = []
        for choice in chunk.get("choices") or ():
            one = choices.setdefault(choice.get("index") or 0, OtherLanguage(asked))
            delta = choice.get("delta")
            said = _instead(delta if isinstance(delta, Mapping) else choice, one)
            told.append({**choice, "delta": said} if isinstance(delta, Mapping) else said)
        yield {**chunk, "choices": told}


def _instead(said: Mapping[str, Any], one: OtherLanguage) -> dict[str, Any]:
    replaced = {name: one.instead_of(said[name]) for name in (*KEPT, "text") if said.get(name)}
    return {**said, **replaced}


async def _spoiled(
    kind: Kind, chunks: AsyncGenerator[Chunk], drill: Drill
) -> AsyncGenerator[Chunk]:
    for index, choice in (await collected(tidied(kind, chunks))).items():
        yield _one(kind, index, spoiled(drill, choice.text() or ""), choice.reason)


def _one(kind: Kind, index: int, text: str, reason: str | None, field: str = "content") -> Chunk:
    said = {"delta": {field: text}} if kind == "chat" else {"text": text}
    return {"choices": [{"index": index, **said, "finish_reason": reason}]}


def _text(choice: Mapping[str, Any]) -> str:
    said = choice.get("delta") or choice
    return next((said[one] for one in (*KEPT, "text") if said.get(one)), "")
