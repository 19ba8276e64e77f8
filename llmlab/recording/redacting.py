"""What guards would find in a record, replaced by its kind, before it is written."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from llmlab.guards.base import About, Finding, Guard, Where

# What is no text and cannot be looked at: a picture, a sound, a file.
UNSEEN = "[not looked at, so not kept]"
# What a part of a message may call itself; another word may be anybody's address.
KINDS = {"image_url", "input_audio", "file", "video_url", "refusal"}
OTHER = "other"


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
        return self._without(text, self._spans(text, where))

    def document(self, value: Any, where: Where = "request") -> Any:
        """A JSON document, with every text in it, and every name that is somebody's own."""
        match value:
            case str():
                return self.text(value, where)
            case list():
                return [self.document(one, where) for one in value]
            case dict():
                return {
                    self.text(name, where): self._parts(one, where)
                    if name == "content" and isinstance(one, list)
                    else self.document(one, where)
                    for name, one in value.items()
                }
        return value

    def _parts(self, parts: Sequence[Any], where: Where) -> list[dict[str, str]]:
        """Of a message: its texts that follow each other as one, as its model reads them, and of
        all else that it was there."""
        found: list[dict[str, str]] = []
        texts: list[str] = []
        for part in parts:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "text" and isinstance(part.get("text"), str):
                texts.append(part["text"])
                continue
            found += self._joined(texts, where)
            texts = []
            known = kind if isinstance(kind, str) and kind in KINDS else OTHER
            found.append({"type": known, "text": UNSEEN})
        return found + self._joined(texts, where)

    def _joined(self, texts: Sequence[str], where: Where) -> list[dict[str, str]]:
        """One part. What begins in one text and ends in the next is seen where nothing stands
        between them."""
        if not texts:
            return []
        whole = "\n".join(texts)
        spans = self._spans(whole, where)
        if len(texts) > 1:
            ends = list(accumulate(map(len, texts)))
            spans += [
                Finding(one.start + bisect_right(ends, one.start),
                        one.end + bisect_right(ends, one.end - 1), one.label)
                for one in self._spans("".join(texts), where)
                if bisect_right(ends, one.start) != bisect_right(ends, one.end - 1)
            ]  # fmt: skip
        return [{"type": "text", "text": self._without(whole, spans)}]

    def _spans(self, text: str, where: Where) -> list[Finding]:
        return [one for guard in self._guards for one in guard.find(text, About(where))]

    def _without(self, text: str, spans: Sequence[Finding]) -> str:
        parts, place = [], 0
        for span in _apart(sorted(spans, key=lambda one: (one.start, -one.end))):
            parts += [text[place : span.start], f"[{span.label}]"]
            place = span.end
            self.found[span.label] += 1
        return "".join([*parts, text[place:]])


def _apart(spans: Sequence[Finding]) -> list[Finding]:
    """Spans that overlap as one, under the label of the first."""
    found: list[Finding] = []
    for span in spans:
        if found and span.start < found[-1].end:
            last = found.pop()
            span = Finding(last.start, max(last.end, span.end), last.label)
        found.append(span)
    return found
