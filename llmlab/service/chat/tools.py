"""Tool calls by models whose template knows no tools.

The tools are described in the prompt, and the answer is held to a JSON schema: an object with
``name`` and ``arguments`` where a tool has to be called, and either that or an object with
``answer`` where the model may decide. So a call is always well-formed; whether it is a wise one
is a matter of the model.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from llmlab.runtimes.chat import Chunk
from llmlab.service.chat.errors import cannot
from llmlab.service.chat.schemas import ChatRequest, Function, Message, NamedTool

ANSWER = "answer"
OFFERED = """You can call these functions:
{functions}
To call one, answer with a JSON object {{"name": ..., "arguments": ...}} and nothing else."""
OR_ANSWER = f""" To answer without a function, answer with a JSON object {{"{ANSWER}": ...}}."""


def offered(asked: ChatRequest) -> list[Function]:
    """The functions that may be called: one, where the request names it."""
    functions = [tool.function for tool in asked.tools or ()]
    if isinstance(asked.tool_choice, NamedTool):
        named = asked.tool_choice.function.name
        return [one for one in functions if one.name == named]
    return functions


def may_answer(asked: ChatRequest) -> bool:
    """Whether it may do without any."""
    return asked.tool_choice in (None, "auto")


def as_schema(asked: ChatRequest) -> dict[str, Any]:
    """The fields of a request that hold the model to it.

    Raises:
        ApiError: it wants another format as well.
    """
    if asked.response_format and asked.response_format.type != "text":
        raise cannot("response_format", "This model can be held to tools or to a format, not both.")
    ways = [_call_schema(one) for one in offered(asked)]
    if may_answer(asked):
        text = {"type": "string"}
        ways.append(_object({ANSWER: text}))
    schema = ways[0] if len(ways) == 1 else {"anyOf": ways}
    if definitions := _definitions(asked):
        schema = {**schema, "$defs": definitions}
    return {"type": "json_schema", "json_schema": {"name": "call", "schema": schema}}


def described(asked: ChatRequest) -> str:
    """What is said to the model of the tools."""
    functions = "\n".join(
        json.dumps(
            {"name": one.name, "description": one.description or "",
             "parameters": _parameters(one)}, ensure_ascii=False,
        )
        for one in offered(asked)
    )  # fmt: skip
    return OFFERED.format(functions=functions) + (OR_ANSWER if may_answer(asked) else "")


def spoken(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """A conversation in words alone: calls as they are written, results as somebody says them."""
    names: dict[str, str] = {}
    said: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "tool":
            name = names.get(message.tool_call_id or "", "the function")
            said.append({"role": "user", "content": f"Result of {name}: {message.text}"})
            continue
        calls = message.tool_calls or ()
        names |= {call.id: call.function.name for call in calls}
        written = [
            f'{{"name": {json.dumps(call.function.name)}, "arguments": {call.function.arguments}}}'
            for call in calls
        ]
        content = "\n".join([*([message.text] if message.text else []), *written])
        said.append({"role": message.role, "content": content})
    return said


def with_description(messages: list[dict[str, Any]], description: str) -> list[dict[str, Any]]:
    """The conversation, after what is said of the tools."""
    if messages and messages[0]["role"] in ("system", "developer"):
        first = messages[0]
        return [{**first, "content": f"{first['content']}\n\n{description}"}, *messages[1:]]
    return [{"role": "system", "content": description}, *messages]


async def as_calls(chunks: AsyncGenerator[Chunk]) -> AsyncGenerator[Chunk]:
    """What was written by ``as_schema``, as tool calls. It is known what it is at the end of
    each choice only, so nothing comes before that."""
    texts: dict[int, list[str]] = {}
    async with aclosing(chunks):
        async for chunk in chunks:
            if chunk.get("usage"):
                yield {"choices": [], "usage": chunk["usage"]}
            for choice in chunk.get("choices") or ():
                index = choice.get("index") or 0
                written = texts.setdefault(index, [])
                written.append((choice.get("delta") or {}).get("content") or "")
                if choice.get("finish_reason"):
                    for one in _told(index, "".join(written), choice["finish_reason"]):
                        yield {"choices": [one]}


def _told(index: int, text: str, reason: str) -> Iterator[dict[str, Any]]:
    """The chunks of one choice."""
    called = _call(text)
    if called is None:
        # An answer in words; or cut by max_tokens, and then nothing can be made of it.
        yield _delta(index, {"content": _answer(text)}, None)
        yield _delta(index, {}, reason)
        return
    name, arguments = called
    begin = {"index": 0, "id": f"call_{uuid.uuid4().hex[:24]}", "type": "function",
             "function": {"name": name, "arguments": ""}}  # fmt: skip
    yield _delta(index, {"tool_calls": [begin]}, None)
    written = {"index": 0, "function": {"arguments": arguments}}
    yield _delta(index, {"tool_calls": [written]}, None)
    yield _delta(index, {}, "tool_calls")


def _delta(index: int, delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": reason}


def _call(text: str) -> tuple[str, str] | None:
    """(name, arguments as JSON) of a call that is whole."""
    said = _json(text)
    if isinstance(said.get("name"), str) and isinstance(said.get("arguments"), dict):
        return said["name"], json.dumps(said["arguments"], ensure_ascii=False)
    return None


def _answer(text: str) -> str:
    said = _json(text).get(ANSWER)
    return said if isinstance(said, str) else text


def _json(text: str) -> Mapping[str, Any]:
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _call_schema(function: Function) -> dict[str, Any]:
    return _object({"name": {"const": function.name}, "arguments": _parameters(function)})


def _parameters(function: Function) -> dict[str, Any]:
    """Without its definitions, which have to stand at the top of the whole schema."""
    said = function.parameters or {"type": "object", "properties": {}}
    return {name: value for name, value in said.items() if name != "$defs"}


def _definitions(asked: ChatRequest) -> dict[str, Any]:
    """What the parameters of all tools refer to.

    Raises:
        ApiError: two of them mean something else by one name.
    """
    found: dict[str, Any] = {}
    for one in offered(asked):
        for name, schema in (one.parameters or {}).get("$defs", {}).items():
            if found.setdefault(name, schema) != schema:
                raise cannot("tools", f"Two tools define {name}, and not in the same way.")
    return found


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties),
            "additionalProperties": False}  # fmt: skip
