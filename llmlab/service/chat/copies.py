"""Conversations that are asked again of another version: which of them can be, and what is told of
an answer, so that it can be held against another one.

Pictures, calls of tools and several choices are left out: what two versions wrote is compared, and
of these there is nothing to compare, or no one text.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from llmlab.answered import Answer
from llmlab.runtimes.chat import Chunk
from llmlab.service.chat.admitting import Admitting
from llmlab.service.chat.chunks import Usage, tidied
from llmlab.service.chat.collecting import collected
from llmlab.service.chat.drilled import drilled
from llmlab.service.chat.formats import Format
from llmlab.service.chat.guarded import FILTERED, guarded_whole
from llmlab.service.chat.schemas import ChatRequest, Message
from llmlab.service.chat.watching import Watched
from llmlab.service.drill import Drills

# Of a request: who asks whom, how the answer is to come, and what is no part of what it says.
NOT_ASKED: dict[str, Any] = {
    **dict.fromkeys(
        ("model", "user", "store", "stream", "stream_options", "n", "logprobs", "top_logprobs"),
        True,
    ),
    "messages": {"__all__": {"name": True}},
}
WORDS = ("type", "text", "refusal")  # of a part; what else is in one is no word of it
ChatOf = Callable[[ChatRequest, Request, float, Usage], AsyncGenerator[Chunk]]


class CallsTool(Exception):
    """An answer that calls a tool: it says nothing that could be compared."""


def can_be_copied(asked: ChatRequest) -> bool:
    """Whether it is all words, and has one answer."""
    return asked.choices == 1 and all(map(_is_words, asked.messages))


def _is_words(one: Message) -> bool:
    if one.role == "tool" or one.tool_calls:
        return False
    return isinstance(one.content, str) or all(
        part.type in ("text", "refusal") for part in one.content or ()
    )


def copy_of(asked: ChatRequest) -> dict[str, Any]:
    """What another version is asked."""
    copy = asked.model_dump(
        mode="json", exclude_unset=True, exclude_none=True, by_alias=True, exclude=NOT_ASKED
    )
    for message in copy["messages"]:
        if isinstance(message.get("content"), list):
            message["content"] = [
                {name: part[name] for name in WORDS if isinstance(part.get(name), str)}
                for part in message["content"]
            ]
    return copy


def text_of(asked: ChatRequest) -> str:
    """All that it says to the model: the source of what an answer may know."""
    return "\n".join(one.text for one in asked.messages)


def users_last(asked: ChatRequest) -> str:
    """What a drill looks at; "" where the user says nothing."""
    users = [one.text for one in asked.messages if one.role == "user"]
    return users[-1] if users else ""


def told_of(choice: Mapping[str, Any], answer: Answer | None) -> dict[str, Any]:
    """A whole answer as a document: ``text``, and ``ended``, how it did.

    Args:
        choice: its only one, as a client gets it.
        answer: what was seen of it on its way from the model; of what a guard found nobody knew
            there.

    Raises:
        CallsTool: it is none.
    """
    message = choice["message"]
    if message.get("tool_calls"):
        raise CallsTool
    seen = answer or Answer()
    filtered = choice["finish_reason"] == FILTERED or bool(message.get("refusal"))
    return {
        "text": message.get("content") or message.get("refusal") or "",
        "ended": {
            "cut_off": bool(seen.cut_off),
            "refusal": filtered or bool(seen.refusal),
            "invalid": seen.invalid,
        },
    }


@dataclass(frozen=True)
class Copied:
    """A conversation that was copied here.

    Args:
        write: gives ``told_of`` its answer, given the seconds that there are.
    """

    request_id: str
    text: str
    write: Callable[[float], Awaitable[dict[str, Any]]]


def copied(
    asked: ChatRequest,
    connection: Request,
    chat: ChatOf,
    drills: Drills,
    admitting: Admitting,
    count: Callable[[Usage], None],
) -> Copied:
    """
    Args:
        connection: put aside.
        chat: the model.
        count: takes note of the tokens, whoever pays for them: nobody's budget is charged.

    Raises:
        ApiError: guards cannot look at its answer.
    """
    text = users_last(asked)
    opened = admitting.opened(asked, text, connection)

    async def write(seconds: float) -> dict[str, Any]:
        usage = Usage()
        watched = Watched(usage, False, Format.of(asked))
        drill = drills.strikes(connection.headers.get("x-subject", ""), text)

        def make(left: float) -> AsyncGenerator[Chunk]:
            return chat(asked, connection, left, usage)

        chunks = watched.chunks(tidied("chat", drilled("chat", drill, make, seconds, text)))
        try:
            async with aclosing(chunks):
                choices = await collected(chunks)
        finally:
            count(usage)
        if opened:
            await guarded_whole(choices, opened)
        whole = [one.as_choice("chat", index) for index, one in choices.items()]
        empty = {"message": {}, "finish_reason": "stop"}
        return told_of(whole[0] if whole else empty, watched.answer)

    return Copied(connection.scope["state"]["request_id"], text_of(asked), write)
