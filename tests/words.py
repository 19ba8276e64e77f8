"""A model made of words: it does what a real one does, but shows what it was given."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from llmlab.runtimes import Encoded, Generation, Runtime, Strategy, Summary, TextTooLong
from llmlab.runtimes.base import AbandonedAt, none_of_them

PATIENCE = 30.0  # seconds for what should happen at once
DEFAULT_LENGTH = 4  # words of a summary


class Words(Runtime):
    """The summary of a text is its first words. Each word is a token, and the end is one.

    It fails on a text with the word "kaboom".

    Args:
        window: tokens that it reads at once; 0 for no limit.
        parallel: batches that it works on at once.
    """

    def __init__(self, window: int = 0, parallel: int = 1) -> None:
        self.parallel = parallel
        self.window = window
        self.batches: list[list[str]] = []  # the texts of each, in their order
        self.left: list[str] = []  # texts that were given up while it worked on them
        self._lock = threading.Condition()
        self._held = False

    # --- what a test does with it ------------------------------------------------

    def hold(self) -> None:
        """Let no batch end until ``release``."""
        self._held = True

    def release(self) -> None:
        with self._lock:
            self._held = False
            self._lock.notify_all()

    def until_batches(self, count: int) -> None:
        """Until it was given so many batches."""
        with self._lock:
            assert self._lock.wait_for(lambda: len(self.batches) >= count, PATIENCE), self.batches

    @property
    def read(self) -> list[str]:
        """Every text that it was given."""
        return [text for batch in self.batches for text in batch]

    # --- what a runtime does -----------------------------------------------------

    def encode(self, text: str, generation: Generation) -> Encoded:
        whole = len(text.split()) + 1
        if generation.strategy is Strategy.FULL and whole > 1000:
            raise TextTooLong("too long", fix="shorten it")
        cut = generation.strategy is Strategy.TRUNCATE and self.window
        tokens = min(whole, self.window) if cut else whole
        length = generation.max_length or DEFAULT_LENGTH
        return Encoded(text, tokens, whole, self.window, key=length)

    def generate(
        self, batch: Sequence[Encoded], abandoned: AbandonedAt = none_of_them
    ) -> list[Summary]:
        texts = [str(one.content) for one in batch]
        with self._lock:
            self.batches.append(texts)
            self._lock.notify_all()
            assert self._lock.wait_for(lambda: not self._held, PATIENCE)
            self.left += [text for place, text in enumerate(texts) if abandoned(place)]
        if any("kaboom" in text for text in texts):
            raise ValueError("kaboom")
        return [self._summary(one) for one in batch]

    def _summary(self, one: Encoded) -> Summary:
        first = one.content.split()[: min(one.key, one.tokens)]  # type: ignore[call-overload]
        return Summary(" ".join(first), one.tokens, len(first), truncated=one.truncated)
