"""From what has passed of a request to what a recording keeps of it."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from llmlab.recording.order import Order
from llmlab.recording.redacting import Redacting
from llmlab.service.chat.collecting import Collected
from llmlab.service.schemas import SummarizeRequest

LONGEST_ANSWER = 4_194_304  # bytes
LONGEST_REQUEST = 262_144  # bytes of a body: what is redacted at once is short for all others
PSEUDONYM = 16  # hexadecimal digits
# Of a request: what says who asked, and what is no part of the question.
NOT_KEPT: dict[str, Any] = {
    **dict.fromkeys(("user", "model", "store", "stream_options"), True),
    "messages": {"__all__": {"name": True}},
}


@dataclass(slots=True)
class Tape:
    """One request while it is answered.

    Args:
        asked: as its model has read it, past all guards.
        at: seconds of the epoch.
        is_stream: whether the answer comes as events.
        asked_bytes: of the request's body.
        whole: whether it came to its end.
        seconds: until then.
    """

    order: Order
    asked: BaseModel
    subject: str
    deployment: str
    model_id: str
    at: float
    is_stream: bool
    asked_bytes: int = 0
    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    whole: bool = False
    seconds: float = 0.0

    @property
    def weight(self) -> int:
        """Bytes that it takes while it waits, about."""
        return self.asked_bytes + self.size

    @property
    def too_long(self) -> bool:
        return self.size > LONGEST_ANSWER

    def hear(self, body: bytes, *, more: bool) -> None:
        self.size += len(body)
        if self.too_long:
            self.parts.clear()
        else:
            self.parts.append(body)
        self.whole = not more


def record_of(tape: Tape, redacting: Redacting | None) -> dict[str, Any]:
    """What is kept of it: not its request id, by which a log tells whose it was.

    Raises:
        ValueError, KeyError, TypeError: its answer is none that this API gives.
    """
    order, asked = tape.order, tape.asked
    is_text = isinstance(asked, SummarizeRequest)
    request = asked.model_dump(
        mode="json", exclude_unset=True, exclude_none=True, by_alias=True, exclude=NOT_KEPT
    )
    for message in request.get("messages", ()):
        message.pop("name", None)  # it is somebody's, and no model here reads it
    body = b"".join(tape.parts).decode()
    choices, broken = summary_in(body, tape.is_stream) if is_text else chat_in(body, tape.is_stream)
    if redacting:
        request = redacting.document(request)
        choices = [redacting.document(one, "answer") for one in choices]
    return {
        "at": datetime.fromtimestamp(tape.at, UTC).isoformat(timespec="milliseconds"),
        "seconds": round(tape.seconds, 4),
        "subject": pseudonym(tape.subject, order.pseudonyms),
        "deployment": tape.deployment,
        "model_id": tape.model_id,
        "kind": "text" if is_text else "chat",
        "request": request,
        "choices": choices,
        "broken": broken,
    }


def pseudonym(subject: str, drawn: str) -> str:
    """The same for the same subject within a recording, and nobody's without its key, which is
    gone when it ends."""
    if not subject:
        return ""
    key = bytes.fromhex(drawn)
    return hmac.new(key, subject.encode(), hashlib.sha256).hexdigest()[:PSEUDONYM]


def summary_in(body: str, is_stream: bool) -> tuple[list[dict[str, Any]], bool]:
    """What a client of /summarize/ got, and whether it broke off.

    Raises:
        ValueError, KeyError, TypeError: it is no answer that this API gives.
    """
    if not is_stream:
        return [{"text": str(json.loads(body)["summary"]), "finish_reason": "stop"}], False
    told = dict(_events(body))
    if "summary" not in told:
        return [], True
    return [{"text": str(json.loads(told["summary"])["summary"]), "finish_reason": "stop"}], False


def chat_in(body: str, is_stream: bool) -> tuple[list[dict[str, Any]], bool]:
    """What a client of /v1/chat/completions got, and whether it broke off.

    Raises:
        ValueError, KeyError, TypeError: it is no answer that this API gives.
    """
    whole, broken = choices_in(body, is_stream)
    return [_choice(one["message"], one) for one in whole], broken


def choices_in(body: str, is_stream: bool) -> tuple[list[dict[str, Any]], bool]:
    """The same, in OpenAI's own shape."""
    if not is_stream:
        return json.loads(body)["choices"], False
    found: dict[int, Collected] = {}
    ended = failed = False
    for _, data in _events(body):
        if data == "[DONE]":
            ended = True
            break
        chunk = json.loads(data)
        failed = failed or "error" in chunk
        for choice in chunk.get("choices", ()):
            found.setdefault(choice["index"], Collected()).add(choice)
    whole = [one.as_choice("chat", index) for index, one in sorted(found.items())]
    return whole, failed or not ended


def _choice(message: dict[str, Any], choice: dict[str, Any]) -> dict[str, Any]:
    kept = {"text": message.get("content") or "", "finish_reason": choice["finish_reason"]}
    for name in ("refusal", "tool_calls"):
        if message.get(name):
            kept[name] = message[name]
    return kept


def _events(body: str) -> Iterator[tuple[str, str]]:
    """(name, data) of each event that is all there; our own have one line of data each."""
    *whole, _ = body.split("\n\n")
    for block in whole:
        name, data = "message", ""
        for line in block.split("\n"):
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                data = line.removeprefix("data: ")
        if data:
            yield name, data
