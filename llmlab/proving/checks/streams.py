"""openai, second part: streams, event by event."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from llmlab.proving.answers import Answer
from llmlab.proving.checks.openai import ENDS, NO_CHAT, OPENAI, SHAPE, wrong_usage
from llmlab.proving.findings import (
    Evidence,
    Finding,
    failed,
    insist,
    not_applicable,
    passed,
    undecided,
)
from llmlab.proving.target import CHAT, Target

PAUSES, WORDS = (0.15, 0.4), 6  # seconds between two words of a stream that is timed


@dataclass(frozen=True)
class Streamed:
    """A stream that came to its end.

    Args:
        chunks: the events, as JSON.
        done: the last one was [DONE].
        came: seconds after which each part came.
    """

    answer: Answer
    chunks: list[dict[str, Any]]
    done: bool
    came: list[float]

    @property
    def seen(self) -> Evidence:
        return Evidence(self.answer.sent, self.answer.shown)

    @property
    def choices(self) -> list[dict[str, Any]]:
        return [one for chunk in self.chunks for one in chunk.get("choices") or ()]


def events(body: str) -> tuple[list[dict[str, Any]], bool]:
    """The documents of a stream, and whether [DONE] was the last word.

    Raises:
        ValueError: an event is no JSON object.
    """
    data = [line[5:].strip() for line in body.splitlines() if line.startswith("data:")]
    done = data[-1:] == ["[DONE]"]
    chunks = [json.loads(one) for one in (data[:-1] if done else data)]
    if not all(isinstance(one, dict) for one in chunks):
        raise ValueError("an event is no object")
    return chunks, done


async def streamed(target: Target, said: Any = "Say hello.", **fields: Any) -> Streamed | Finding:
    """A stream, or what is to be said where none came."""
    if not target.model:
        return not_applicable(NO_CHAT)
    token = await target.token("stream")
    data = target.request("POST", CHAT, token=token,
                          body=target.chat_body(said, stream=True, **fields))  # fmt: skip
    await target.pace.turn()
    heard, came = await target.wire.stream(data, method="POST", patience=target.patience)
    answer = heard.first
    if answer is None:
        return undecided("no answer came", heard)
    if not answer.good:
        return failed(f"the answer is {answer.status}", answer)
    if not answer.header("content-type").startswith("text/event-stream"):
        return failed(f"it is {answer.header('content-type') or 'of no type'}, no stream", answer)
    try:
        chunks, done = events(answer.text)
    except ValueError:
        return failed("an event is no JSON", answer)
    return Streamed(answer, chunks, done, came)


@OPENAI.check("stream", "A stream is one answer: its id, its time and its model stay.",
              fix=SHAPE)  # fmt: skip
async def stream(target: Target) -> Finding:
    found = await streamed(target)
    if isinstance(found, Finding):
        return found
    for name in ("id", "created", "model", "object"):
        values = {json.dumps(one.get(name)) for one in found.chunks}
        if len(values) != 1 or "null" in values:
            return failed(f"{name} is {', '.join(sorted(values))[:80] or 'not there'}", found.seen)
    kind = found.chunks[0]["object"]
    return insist(kind == "chat.completion.chunk", f"{len(found.chunks)} chunks of one answer",
                  f"object is {kind!r}", found.seen)  # fmt: skip


@OPENAI.check("stream-role", "The role stands in the first chunk only.", fix=SHAPE)
async def role(target: Target) -> Finding:
    found = await streamed(target)
    if isinstance(found, Finding):
        return found
    there = [bool(one.get("delta", {}).get("role")) for one in found.choices]
    return insist(there[:1] == [True] and sum(there) == 1, "it does",
                  f"in {sum(there)} of {len(there)}", found.seen)  # fmt: skip


@OPENAI.check("stream-end", "Why it ends is said once, at the end, and then [DONE].", fix=SHAPE)
async def end(target: Target) -> Finding:
    found = await streamed(target)
    if isinstance(found, Finding):
        return found
    reasons = [one.get("finish_reason") for one in found.choices]
    if not found.done:
        return failed("the last event is not [DONE]", found.seen)
    right = reasons and reasons[-1] in ENDS and not any(reasons[:-1])
    return insist(bool(right), f"finish_reason is {reasons[-1:]}",
                  f"finish_reason is {reasons[-3:]}", found.seen)  # fmt: skip


@OPENAI.check("stream-usage-unasked", "Tokens are told to those who ask only.", fix=SHAPE)
async def usage_unasked(target: Target) -> Finding:
    found = await streamed(target)
    if isinstance(found, Finding):
        return found
    bare = [one for one in found.chunks if not one.get("choices")]
    return insist(not bare, "no chunk is without choices",
                  "a chunk without choices comes, at which some clients fail",
                  found.seen)  # fmt: skip


@OPENAI.check("stream-usage", "Whoever asks for tokens gets them, last.", fix=SHAPE)
async def usage(target: Target) -> Finding:
    found = await streamed(target, stream_options={"include_usage": True})
    if isinstance(found, Finding):
        return found
    last = found.chunks[-1] if found.chunks else {}
    if last.get("choices") != []:
        return failed("the last chunk has choices, or there is none", found.seen)
    why = wrong_usage(last.get("usage"))
    return insist(not why, "they add up", why, found.seen)


@OPENAI.check("stream-flows", "Each word comes when it is written.",
              fix="proxy_buffering off; and pass X-Accel-Buffering on")  # fmt: skip
async def flows(target: Target) -> Finding:
    if not target.witness:
        return undecided("nobody knows when it was written")
    # Whoever is busy reads late, and then several at once: so once more, and more slowly.
    told = undecided("no stream came")
    for pause in PAUSES:
        found = await streamed(target, {"say": "word " * WORDS, "pause": pause})
        if isinstance(found, Finding):
            return found
        apart = found.came[-1] - found.came[0]
        if len(found.came) >= WORDS / 2 and apart > pause * WORDS / 2:
            return passed(f"the first comes {apart:.1f} s before the last", found.seen)
        said = f"written in {pause * WORDS:.1f} s, they come within {apart:.2f} s"
        told = failed(f"{said}, in {len(found.came)} pieces", found.seen)
    return told


@OPENAI.check("stream-breaks-off", "A stream that breaks off says so, and ends as streams do.",
              fix='data: {"error": {...}}, then data: [DONE]')  # fmt: skip
async def breaks_off(target: Target) -> Finding:
    if not target.witness:
        return undecided("no model here breaks off on demand")
    found = await streamed(target, {"say": "one two three four", "break_after": 2})
    if isinstance(found, Finding):
        return found
    said = [one for one in found.chunks if isinstance(one.get("error"), dict)]
    if not said:
        return failed("nobody is told that it broke off", found.seen)
    return passed("an error, then [DONE]", found.seen) if found.done else failed(
        "there is no [DONE] behind the error", found.seen
    )  # fmt: skip
