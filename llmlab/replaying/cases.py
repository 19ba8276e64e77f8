"""From a recording to questions that can be asked again, each with how it was asked."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from llmlab.errors import UsageError
from llmlab.evaluate import conversations
from llmlab.evaluate.checks import Checks
from llmlab.evaluate.conversations import messages_of
from llmlab.evaluate.patterns import problem_of_schema
from llmlab.evaluate.suite import Case, Suite
from llmlab.languages import guess
from llmlab.recording.redacting import UNSEEN

# Of a request in OpenAI's dialect: what a case cannot say, so that it is asked otherwise, or not.
DECODING = ("temperature", "top_p", "max_tokens", "seed", "stop")
# Of which 0, and nothing, say what their absence says.
LEANING = ("frequency_penalty", "presence_penalty", "logit_bias", "reasoning_effort")
OF_SUMMARIES = ("max_length", "min_length", "strategy")
TOLD_BY_LETTERS = 120  # characters of an answer, below which its language is a guess
TOOLS, PICTURES, EMPTY = "tools", "more than text", "nothing to read"
AGAIN = "asked before in the same words"
NO_RECORD = "no record of an API of this lab"


@dataclass(frozen=True)
class Question:
    """A recorded request that can be asked again.

    Args:
        after: seconds from the first one of the recording.
        options: how it was to be answered; see ``Manner.own``.
        answer: what was answered then; "" if that broke off.
    """

    case: Case
    after: float
    options: Mapping[str, Any]
    answer: str


@dataclass(frozen=True)
class Questions:
    """Args:
    left_out: {why: how many requests}.
    without_schema: of what is asked, how many whose schema is not taken: no answer is held
        against it.
    """

    suite: Suite
    asked: tuple[Question, ...]
    left_out: Mapping[str, int]
    without_schema: int = 0


def questions(name: str, records: Iterable[Mapping[str, Any] | None]) -> Questions:
    """What a recording asks, each question once: the same one twice is no second evidence.

    Args:
        records: None for what is none.

    Raises:
        UsageError: nothing of it can be asked again.
    """
    found: list[Question] = []
    left_out: Counter[str] = Counter()
    seen: set[str] = set()
    without_schema = 0
    start: float | None = None
    there = []
    for each in records:
        if each is None:
            left_out[NO_RECORD] += 1
        else:
            there.append(each)
    for one in sorted(there, key=lambda one: str(one["at"])):
        at = datetime.fromisoformat(one["at"]).timestamp()
        start = at if start is None else start
        if why := _unaskable(one):
            left_out[why] += 1
            continue
        schema = _schema(one["request"]) if one["kind"] != "text" else None
        unheld = schema is not None and bool(problem_of_schema(schema))
        question = _question(
            f"request-{len(found) + 1:05}", one, at - start, None if unheld else schema
        )
        content = _content(question)
        if content in seen:
            left_out[AGAIN] += 1
            continue
        seen.add(content)
        found.append(question)
        without_schema += unheld
    if not found:
        said = ", ".join(f"{count} {why}" for why, count in left_out.items()) or "it is empty"
        raise UsageError(
            f"nothing of {name} can be asked again: {said}",
            fix="llmlab record show RECORDING; requests come within a second of the start",
        )
    digest = hashlib.sha256("\n".join(sorted(seen)).encode("utf-8", "replace")).hexdigest()
    suite = Suite(name, tuple(one.case for one in found), f"sha256:{digest}")
    return Questions(suite, tuple(found), dict(left_out), without_schema)


def _unaskable(record: Mapping[str, Any]) -> str:
    """Why a request cannot be asked again as a case; "" if it can."""
    request = record["request"]
    if record["kind"] == "text":
        return "" if str(request.get("text", "")).strip() else EMPTY
    if request.get("tools") or any(
        one.get("tool_calls") or one["role"] == "tool" for one in request["messages"]
    ):
        return TOOLS
    if any(conversations.problems(_bare(request["messages"]))):
        return PICTURES
    said = json.dumps(request["messages"])
    return PICTURES if UNSEEN in said else ""


def _content(question: Question) -> str:
    """What makes it another question than those before: not how its answer was sent, nor its seed,
    for another draw of the same answer is no second evidence."""
    case = question.case
    said = [one.as_json() for one in case.messages] or case.text
    options = {key: value for key, value in question.options.items() if key != "seed"}
    return json.dumps([said, options], sort_keys=True)


def _bare(messages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Without names, which a case has not, and which no model here reads."""
    return [{"role": one["role"], "content": one.get("content")} for one in messages]


def _question(name: str, record: Mapping[str, Any], after: float, schema: str | None) -> Question:
    request, choices = record["request"], record["choices"]
    answer = str(choices[0]["text"]) if choices and not record["broken"] else ""
    if record["kind"] == "text":
        case = Case(name, request["text"])
        options = {key: request[key] for key in OF_SUMMARIES if key in request}
    else:
        said = messages_of(_bare(request["messages"]))
        checks = Checks(json_schema=schema, language=_language(said, answer))
        case = Case(name, "", messages=said, checks=checks)
        options = {key: request[key] for key in DECODING if key in request}
        options |= {key: request[key] for key in LEANING if request.get(key)}
        if "max_completion_tokens" in request:
            options["max_tokens"] = request["max_completion_tokens"]
        if (request.get("response_format") or {}).get("type") not in (None, "text"):
            options["response_format"] = request["response_format"]
    return Question(case, after, options, answer)


def _schema(request: Mapping[str, Any]) -> str | None:
    """What was asked of the answer's form, as a check has it."""
    wanted = request.get("response_format") or {}
    match wanted.get("type"):
        case "json_schema":
            return json.dumps(wanted["json_schema"].get("schema") or {}, sort_keys=True)
        case "json_object":
            return json.dumps({"type": "object"})
    return None


def _language(said: Iterable[conversations.Message], answer: str) -> str | None:
    """The language in which an answer is expected: that of the answer then, where it is the
    question's as well; None where that is a guess."""
    asked = [one.content for one in said if one.role == "user"]
    if len(answer) < TOLD_BY_LETTERS or not asked or len(asked[-1]) < TOLD_BY_LETTERS:
        return None
    code = guess(answer, "en")
    return code if code and code == guess(asked[-1], code) else None
