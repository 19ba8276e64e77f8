"""What a model is asked: a conversation so far, as OpenAI's clients send it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

ROLES = ("developer", "system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Message:
    """What one of them has said."""

    role: str
    content: str

    def as_json(self) -> dict[str, str]:
        return {"role": self.role, "content": self.content}


def asked(question: str) -> tuple[Message, ...]:
    """A conversation that begins with a question."""
    return (Message("user", question),)


def messages_of(found: Sequence[Any]) -> tuple[Message, ...]:
    """From messages without problems. Several parts of text are one text, as a model's API has
    it."""
    return tuple(Message(one["role"], _text(one["content"])) for one in found)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content)


def problems(found: Any) -> Iterator[str]:
    """What is wrong with a list of messages, each "messages/N: why"."""
    if not isinstance(found, list) or not found:
        yield "messages: should be a list of {role, content}, and not empty"
        return
    for at, one in enumerate(found):
        if why := _problem(one):
            yield f"messages/{at}: {why}"
    last = found[-1]
    if isinstance(last, dict) and last.get("role") == "assistant":
        yield f"messages/{len(found) - 1}: is the model's own, so there is nothing to answer"


def _problem(one: Any) -> str:
    if not isinstance(one, dict):
        return "should be an object with role and content"
    if unknown := sorted(one.keys() - {"role", "content"}):
        return f"{unknown[0]}: unknown field"
    if one.get("role") not in ROLES:
        return f"role: should be one of {', '.join(ROLES)}"
    content: Any = one.get("content")
    parts: list[Any] = content if isinstance(content, list) else [{"type": "text", "text": content}]
    if not parts or not all(map(_is_text, parts)):
        return "content: should be a text, or a list of parts {type: text, text}"
    return ""


def _is_text(part: Any) -> bool:
    if not isinstance(part, dict) or part.get("type") != "text":
        return False
    text = part.get("text")
    if not isinstance(text, str) or not text.strip():
        return False
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
