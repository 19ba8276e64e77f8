"""What guards would find in a record, replaced by its kind, before it is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from llmlab.guards.base import About, Finding, Guard, Where

# What is no text and cannot be looked at: a picture, a sound, a file.
UNSEEN = "[not looked at, so not kept]"


def guards() -> tuple[Guard, ...]:
    """Keys and tokens, and numbers and addresses that belong to one person: all that there are."""
    from llmlab.guards.pii import FINDERS, Pii
    from llmlab.guards.secrets import Secrets

    return Secrets(), Pii(tuple(FINDERS))


class Redacting:
    """Of many records; ``found`` counts the kinds."""

    def __init__(self, looking: Sequence[Guard]) -> None:
        self._guards = looking
        self.found: Counter[str] = Counter()

    def text(self, text: str, where: Where = "request") -> str:
        spans = sorted(
            (one for guard in self._guards for one in guard.find(text, About(where))),
            key=lambda one: (one.start, -one.end),
        )
        parts, place = [], 0
        for span in _apart(spans):
            parts += [text[place : span.start], f"[{span.label}]"]
            place = span.end
            self.found[span.label] += 1
        return "".join([*parts, text[place:]])

    def document(self, value: Any, where: Where = "request") -> Any:
        """A JSON document, with every text in it, and every name that is somebody's own."""
        match value:
            case str():
                return self.text(value, where)
            case list():
                return [self.document(one, where) for one in value]
            case dict():
                if isinstance(value.get("type"), str) and _is_unseen(value):
                    return {"type": value["type"], "text": UNSEEN}
                return {
                    self.text(name, where): self.document(one, where) for name, one in value.items()
                }
        return value


def _is_unseen(part: dict[str, Any]) -> bool:
    return any(name in part for name in ("image_url", "input_audio", "file"))


def _apart(spans: Sequence[Finding]) -> list[Finding]:
    """Spans that overlap as one, under the label of the first."""
    found: list[Finding] = []
    for span in spans:
        if found and span.start < found[-1].end:
            last = found.pop()
            span = Finding(last.start, max(last.end, span.end), last.label)
        found.append(span)
    return found
