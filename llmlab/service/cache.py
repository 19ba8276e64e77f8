"""Answers to exactly the same question. The model of a process never changes, and it does not
sample, so its text and its decoding parameters say all."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from llmlab.runtimes import Generation, Summary

Key = tuple[bytes, Generation]


def key_of(text: str, generation: Generation) -> Key:
    """What two requests must share to have the same answer; the text itself is not kept."""
    return hashlib.sha256(text.encode()).digest(), generation


class Cache:
    """The answers that were used last. ``size`` in answers; 0 keeps none."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._answers: OrderedDict[Key, Summary] = OrderedDict()

    def get(self, key: Key) -> Summary | None:
        found = self._answers.get(key)
        if found is not None:
            self._answers.move_to_end(key)
        return found

    def put(self, key: Key, summary: Summary) -> None:
        self._answers[key] = summary
        while len(self._answers) > self._size:
            self._answers.popitem(last=False)
