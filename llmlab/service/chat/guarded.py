"""An answer in OpenAI's dialect on its way past the guards, chunk by chunk or whole.

Each text of each choice is looked at by itself: content, refusal and reasoning, and the arguments
of each tool call. A choice in which something is found that is to be blocked ends there, with
``content_filter``, as OpenAI's own filter ends one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from llmlab.guards.rules import Blocked
from llmlab.guards.window import Window
from llmlab.runtimes.chat import Chunk
from llmlab.service.chat.chunks import KEPT, Kind
from llmlab.service.chat.collecting import Collected
from llmlab.service.guarding import said_of

FILTERED = "content_filter"
# Makes the window of one text; strictly, for what a program reads.
Open = Callable[[bool], Window]


@dataclass(slots=True)
class _Choice:
    """How far one choice has come: a window for each of its texts."""

    windows: dict[str | int, Window] = field(default_factory=dict)
    ended: bool = False


async def guarded(
    kind: Kind, chunks: AsyncGenerator[Chunk], opened: Open, choices: int
) -> AsyncGenerator[Chunk]:
    """The chunks of an answer, each text as far as it may leave.

    Args:
        chunks: tidied ones.
        opened: makes the window of one text.
        choices: so many has the answer; once all have ended, the model is stopped.

    Raises:
        GuardFailed: a guard could not tell.
    """
    state: dict[int, _Choice] = {}
    async with aclosing(chunks):
        async for chunk in chunks:
            if not chunk["choices"]:
                yield chunk
            for given in chunk["choices"]:
                choice = state.setdefault(given["index"], _Choice())
                if choice.ended:
                    continue
                try:
                    told = await (_of_chat if kind == "chat" else _of_text)(given, choice, opened)
                except Blocked as blocked:
                    choice.ended, told = True, _filtered(kind, given["index"], blocked)
                if told is not None:
                    yield {"choices": [told]}
            if sum(one.ended for one in state.values()) == choices:
                return


async def _of_text(given: Chunk, choice: _Choice, opened: Open) -> Chunk | None:
    ends = given["finish_reason"] is not None
    text = await _fed(choice, "content", given["text"], opened, ended=ends)
    return {**given, "text": text} if text or ends else None


async def _of_chat(given: Chunk, choice: _Choice, opened: Open) -> Chunk | None:
    ends = given["finish_reason"] is not None
    said = given["delta"]
    delta: dict[str, Any] = {}
    if "role" in said:  # the first chunk: its content is a text, or none where there are calls
        delta = {"role": said["role"], "content": None if said["content"] is None else ""}
    for name in KEPT:
        if said.get(name) or (ends and name in choice.windows):
            text = await _fed(choice, name, said.get(name) or "", opened, ended=ends)
            delta |= {name: text} if text else {}
    calls = [await _call(one, choice, opened) for one in said.get("tool_calls", ())]
    if ends:
        for number in [one for one in choice.windows if isinstance(one, int)]:
            rest = await _fed(choice, number, "", opened, ended=True)
            calls.append({"index": number, "function": {"arguments": rest}} if rest else None)
    if there := [one for one in calls if one]:
        delta["tool_calls"] = there
    return {**given, "delta": delta} if delta or ends else None


async def _call(given: Chunk, choice: _Choice, opened: Open) -> Chunk | None:
    """A part of a tool call, of which the name comes whole."""
    function = dict(given["function"])
    if "name" in function:
        await opened(True).feed(function["name"], ended=True)
    if "arguments" in function:
        piece = function.pop("arguments")
        held = await _fed(choice, given["index"], piece, opened)
        if held or not piece or "name" in function:
            function["arguments"] = held
    return {**given, "function": function} if function else None


async def _fed(
    choice: _Choice, name: str | int, piece: str, opened: Open, *, ended: bool = False
) -> str:
    window = choice.windows.get(name)
    if window is None:
        window = choice.windows[name] = opened(isinstance(name, int))
    return await window.feed(piece, ended=ended)


def _filtered(kind: Kind, index: int, blocked: Blocked) -> Chunk:
    about = {"index": index, "logprobs": None, "finish_reason": FILTERED}
    if kind == "text":
        return {"text": "", **about}
    return {"delta": {"refusal": said_of(blocked, "answer")}, **about}


async def guarded_whole(choices: dict[int, Collected], opened: Open) -> None:
    """The choices of an answer that nobody has read yet. Of one that is blocked nothing is left.

    Raises:
        GuardFailed: a guard could not tell.
    """
    for choice in choices.values():
        try:
            for name, parts in choice.texts.items():
                choice.texts[name] = [await opened(False).feed("".join(parts), ended=True)]
            for call in choice.calls.values():
                for text in (call["function"]["name"], call["function"]["arguments"]):
                    await opened(True).feed(text, ended=True)
        except Blocked as blocked:
            choice.texts = {"refusal": [said_of(blocked, "answer")]}
            choice.calls, choice.logprobs, choice.reason = {}, {}, FILTERED
