"""openai: what clients of OpenAI's dialect rely on, field by field: models, whole answers, errors.

The surface is that of https://platform.openai.com/docs/api-reference/chat as unmodified clients
read it.
"""

from __future__ import annotations

from typing import Any

from llmlab.proving.answers import Answer
from llmlab.proving.findings import (
    Finding,
    Group,
    failed,
    insist,
    not_applicable,
    passed,
    undecided,
)
from llmlab.proving.target import Target, said_in

OPENAI = Group("openai")
NO_CHAT = "there is no address for chats"
SHAPE = "answer as the field's clients read it (docs/guide/chat.md)"
ENDS = ("stop", "length", "tool_calls", "content_filter")


def missing(document: Any, wanted: dict[str, type | tuple[type, ...]]) -> str:
    """What an object lacks, or has of another type; "" for nothing."""
    if not isinstance(document, dict):
        return "it is no object"
    for name, kind in wanted.items():
        if name not in document:
            return f"it has no {name}"
        value = document[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            return f"{name} is {value!r}"[:80]
    return ""


def wrong_usage(usage: Any) -> str:
    """What is wrong with the tokens of an answer; "" for nothing."""
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    if why := missing(usage, dict.fromkeys(names, int)):
        return f"usage: {why}"
    read, written, total = (usage[name] for name in names)
    if read < 1 or written < 0 or total != read + written:
        return f"usage does not add up: {read} + {written} = {total}"
    return ""


def wrong_error(answer: Answer) -> str:
    """What is wrong with an error of this dialect; "" for nothing."""
    document = answer.json()
    error = document.get("error") if isinstance(document, dict) else None
    if why := missing(error, {"message": str, "type": str}):
        return f"error: {why}"
    assert isinstance(error, dict)
    gone = [name for name in ("param", "code") if name not in error]
    return f"error: it has no {gone[0]}" if gone else ""


async def refused(target: Target, status: int, *, param: str = "", **fields: Any) -> Finding:
    """A chat with these fields is refused with this status, in the dialect's words."""
    if not target.model:
        return not_applicable(NO_CHAT)
    answer = await target.chat("Hello", **fields)
    if answer.status != status:
        return failed(f"the answer is {answer.status}, not {status}", answer)
    if why := wrong_error(answer):
        return failed(why, answer)
    said = answer.json()["error"]["param"]
    if param and said != param:
        return failed(f"param is {said!r}, not {param!r}", answer)
    return passed(f"it is refused with {status}, in the field's words", answer)


# --- models -------------------------------------------------------------------------------


@OPENAI.check("models", "The models are listed.", fix=SHAPE)
async def models(target: Target) -> Finding:
    answer = await target.open_at("/v1/models")
    if answer.status == 404:
        return not_applicable("there is no /v1/models")
    document = answer.json()
    if why := missing(document, {"object": str, "data": list}):
        return failed(why, answer)
    wanted: dict[str, Any] = {"id": str, "object": str, "created": int, "owned_by": str}
    wrong = next(filter(None, (missing(one, wanted) for one in document["data"])), "")
    return insist(not wrong and bool(document["data"]), f"there are {len(document['data'])}",
                  wrong or "there is none", answer)  # fmt: skip


@OPENAI.check("one-model", "A model is told by its name.", fix=SHAPE)
async def one_model(target: Target) -> Finding:
    if not target.model:
        return not_applicable(NO_CHAT)
    answer = await target.open_at(f"/v1/models/{target.model}")
    why = missing(answer.json(), {"id": str, "object": str, "created": int})
    return insist(answer.good and not why, "it is", why or f"the answer is {answer.status}", answer)


@OPENAI.check("no-such-model", "A model that there is not is 404, by list and by chat.",
              requests=2, fix=SHAPE)  # fmt: skip
async def no_such_model(target: Target) -> Finding:
    if not target.model:
        return not_applicable(NO_CHAT)
    found = await target.open_at("/v1/models/no-such-model-here")
    asked = await target.chat("Hello", model="no-such-model-here")
    for answer in (found, asked):
        if answer.status != 404 or (why := wrong_error(answer)):
            said = f"the answer is {answer.status}" if answer.status != 404 else why
            return failed(said, answer)
    code = asked.json()["error"]["code"]
    return insist(code == "model_not_found", "404, model_not_found", f"its code is {code!r}", asked)


# --- whole answers --------------------------------------------------------------------------


async def _whole(
    target: Target, said: Any = "Say hello.", **fields: Any
) -> tuple[Answer, dict[str, Any]]:
    answer = await target.chat(said, **fields)
    document = answer.json()
    choices = document.get("choices") if isinstance(document, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else {}
    return answer, first if isinstance(first, dict) else {}


@OPENAI.check("answer", "An answer has the fields that clients read.", fix=SHAPE)
async def answer_shape(target: Target) -> Finding:
    if not target.model:
        return not_applicable(NO_CHAT)
    answer, choice = await _whole(target)
    document = answer.json()
    why = missing(document, {"id": str, "object": str, "created": int, "model": str,
                             "choices": list, "usage": dict})  # fmt: skip
    why = why or missing(choice, {"index": int, "message": dict, "finish_reason": str})
    why = why or missing(choice["message"], {"role": str, "content": str})
    if not why and (document["object"], choice["message"]["role"]) != (
        "chat.completion", "assistant",
    ):  # fmt: skip
        why = f"object is {document['object']!r}, role {choice['message']['role']!r}"
    if not why and choice["finish_reason"] not in ENDS:
        why = f"finish_reason is {choice['finish_reason']!r}"
    return insist(answer.good and not why, "all of them", why or f"{answer.status}", answer)


@OPENAI.check("usage", "The tokens of an answer add up.", requests=2, fix=SHAPE)
async def usage(target: Target) -> Finding:
    if not target.model:
        return not_applicable(NO_CHAT)
    answer, _ = await _whole(target, {"say": "a b c"} if target.witness else "Say hello.")
    document = answer.json()
    told: Any = document.get("usage") if isinstance(document, dict) else None
    if why := wrong_usage(told):
        return failed(why, answer)
    if target.witness and told["completion_tokens"] != 3:
        return failed(f"3 tokens were written, {told['completion_tokens']} are counted", answer)
    return passed("they do", answer)


@OPENAI.check("parts", "A message may consist of parts, and come from any role.", requests=2,
              fix=SHAPE)  # fmt: skip
async def parts(target: Target) -> Finding:
    if not target.model:
        return not_applicable(NO_CHAT)
    text = [{"type": "text", "text": "Say "}, {"type": "text", "text": "hello."}]
    for messages in (
        [{"role": "user", "content": text}],
        [{"role": "developer", "content": "Be short."}, {"role": "user", "content": "Hello"},
         {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "And now?"}],
    ):  # fmt: skip
        answer = await target.chat("", messages=messages)
        if not answer.good:
            return failed(f"the answer is {answer.status}", answer)
    return passed("both are answered")


@OPENAI.check("max-tokens", "An answer is no longer than it may be, and says so.", requests=2,
              fix=SHAPE)  # fmt: skip
async def max_tokens(target: Target) -> Finding:
    if not target.model:
        return not_applicable(NO_CHAT)
    long = {"say": "one two three four five"} if target.witness else "Count to one hundred."
    for name in ("max_tokens", "max_completion_tokens"):
        body = {"max_tokens": None, name: 3}
        answer, choice = await _whole(target, long, **body)
        if not answer.good:
            return failed(f"{name} = 3: the answer is {answer.status}", answer)
        written = answer.json().get("usage", {}).get("completion_tokens", 0)
        if written > 3:
            return failed(f"{name} = 3, and {written} tokens are written", answer)
        if choice.get("finish_reason") == "stop" and not target.witness:
            return undecided("the model ended by itself before that", answer)
        if choice.get("finish_reason") != "length":
            return failed(f"finish_reason is {choice.get('finish_reason')!r}", answer)
    return passed("by both names")


@OPENAI.check("stop", "An answer ends before the word that stops it.", fix=SHAPE)
async def stop(target: Target) -> Finding:
    if not target.model:
        return not_applicable(NO_CHAT)
    if not target.witness:
        return undecided("a model that writes what it likes may never come to that word")
    answer, choice = await _whole(target, {"say": "red green blue"}, stop=["green"])
    said = said_in(answer)
    return insist(said.strip() == "red" and choice.get("finish_reason") == "stop", "it does",
                  f"it says {said!r}", answer)  # fmt: skip


@OPENAI.check("choices", "As many answers come as were asked for.", fix=SHAPE)
async def choices(target: Target) -> Finding:
    if not target.model:
        return not_applicable(NO_CHAT)
    answer, _ = await _whole(target, n=2)
    if answer.status == 400 and not wrong_error(answer):
        return passed("it says that it cannot", answer)
    document = answer.json()
    found = [one.get("index") for one in document.get("choices", ())] if document else []
    return insist(sorted(found) == [0, 1], "two, by their index", f"their index: {found}", answer)


@OPENAI.check("unknown-field", "A field that it does not know is no reason to refuse.", fix=SHAPE)
async def unknown_field(target: Target) -> Finding:
    if not target.model:
        return not_applicable(NO_CHAT)
    answer = await target.chat("Hello", a_field_of_next_year={"a": 1})
    return insist(answer.good, "it is ignored", f"the answer is {answer.status}", answer)


# --- errors ---------------------------------------------------------------------------------


@OPENAI.check("bad-field", "A field with a value that there is not is 400, with its name.",
              fix=SHAPE)  # fmt: skip
async def bad_field(target: Target) -> Finding:
    return await refused(target, 400, param="temperature", temperature="hot")


@OPENAI.check("no-messages", "A chat without messages is 400.", fix=SHAPE)
async def no_messages(target: Target) -> Finding:
    return await refused(target, 400, messages=None)


@OPENAI.check("errors", "Refusals of the gateway, too, are errors that clients read.", requests=3,
              fix="error_page under /v1 with an error of that dialect")  # fmt: skip
async def errors(target: Target) -> Finding:
    if not target.model:
        return not_applicable(NO_CHAT)
    body = target.chat_body("Hello")
    asked = [
        ("no token", target.request("POST", "/v1/chat/completions", body=body)),
        ("a huge body", target.request("POST", "/v1/chat/completions",
                                       token=await target.token("huge"),
                                       headers={"Content-Length": str(1 << 40)})),
        ("nothing there", target.request("GET", "/v1/nothing", token=await target.token("gone"))),
    ]  # fmt: skip
    for what, data in asked:
        heard = await target.raw(data, methods=("POST",), patience=3.0)
        if heard.first is None:
            return undecided(f"{what}: no answer came", heard)
        if heard.status < 400:
            return failed(f"{what}: the answer is {heard.status}", heard)
        if why := wrong_error(heard.first):
            return failed(f"{what} ({heard.status}): {why}", heard)
    return passed("without a token, too large, and nothing there")


@OPENAI.check("request-id", "Each answer has an id that clients report.", fix="add X-Request-ID")
async def request_id(target: Target) -> Finding:
    if not target.model:
        return not_applicable(NO_CHAT)
    answer = await target.chat("Hello")
    return insist(bool(answer.header("x-request-id")), "x-request-id", "there is none", answer)
