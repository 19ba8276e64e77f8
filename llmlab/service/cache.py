"""Answers to exactly the same question of the same subject. The model of a process never
changes, and it does not sample, so its text and its decoding parameters say all.

Not shared between subjects: that an answer comes at once would tell one of them that another
has sent this very text, and a text of which all but a name or a number is known can be guessed.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from llmlab.runtimes import Generation, Summary

# Characters. The summary of a text without spaces may be as long as the text.
LONGEST_KEPT = 1 << 15

Key = tuple[str, bytes, Generation]


def key_of(subject: str, text: str, generation: Generation) -> Key:
    """What two requests must share to have the same answer; the text itself is not kept."""
    return subject, hashlib.sha256(text.encode()).digest(), generation


class Cache:
    """The answers that were used last, but for very long ones. ``size`` in answers; 0 keeps
    none."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._answers: OrderedDict[Key, Summary] = OrderedDict()

    def get(self, key: Key) -> Summary | None:
        found = self._answers.get(key)
        if found is not None:
            self._answers.move_to_end(key)
        return found

    def put(self, key: Key, summary: Summary) -> None:
        if len(summary.text) > LONGEST_KEPT:
            return
        self._answers[key] = summary
        while len(self._answers) > self._size:
            self._answers.popitem(last=False)
