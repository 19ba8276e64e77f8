"""What every runtime promises: load a model once, then turn texts into summaries.

In two steps, so that requests can be put together: ``encode`` says what a text costs and
which others it can go with, ``generate`` works on a batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from llmlab.errors import UsageError


class Strategy(StrEnum):
    """What to do with a text that is longer than the model's window."""

    AUTO = "auto"  # read all of it, window by window; only the service does that
    TRUNCATE = "truncate"  # read the first window only, and say so
    FULL = "full"  # read all of it at once, as the reference lab does


@dataclass(frozen=True, slots=True)
class Generation:
    """Decoding limits of one request. ``None`` leaves the model's own default.

    Lengths count the model's output tokens; for the extractive runtime, words.
    """

    max_length: int | None = None
    min_length: int | None = None
    strategy: Strategy = Strategy.TRUNCATE


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text as its runtime reads it, in the unit of that runtime (tokens or words).

    Args:
        content: what the runtime's ``generate`` reads; nobody else's business.
        tokens: the length of what is read, and so its cost in a batch, padding aside.
        whole: the length of the whole text; more than ``tokens`` if it was truncated.
        window: what the model was made to read at once; 0 for no limit.
        key: requests with the same key may share a batch.
        room: tokens of the longest summary, in all beams: memory that is taken while it is
            written, though the text be short.
    """

    content: Any
    tokens: int
    whole: int
    window: int
    key: Hashable
    room: int = 0

    @property
    def cost(self) -> int:
        """What it takes of a batch's budget."""
        return max(self.tokens, self.room)

    @property
    def truncated(self) -> bool:
        return self.tokens < self.whole


@dataclass(frozen=True, slots=True)
class AnsweredBy:
    """What a model elsewhere calls itself; "" for what it does not say."""

    model: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """A summary and what it cost, in the unit of the runtime (tokens or words).

    ``by``: what wrote it, where that says so by itself.
    """

    text: str
    input_tokens: int
    output_tokens: int
    truncated: bool
    windows: int = 1
    by: AnsweredBy | None = None


class TextTooLong(UsageError):
    """The text does not fit into what this runtime can read at once."""


Abandoned = Callable[[], bool]
# Of a batch: whether anybody still waits for the text in this place.
AbandonedAt = Callable[[int], bool]


def never() -> bool:
    """Somebody waits for this summary to its end."""
    return False


def none_of_them(_: int) -> bool:
    """Somebody waits for every summary of the batch."""
    return False


class Encoder(ABC):
    """What knows how a model reads a text. Any number of threads may ask it at any time."""

    @abstractmethod
    def encode(self, text: str, generation: Generation) -> Encoded:
        """Read one non-blank text.

        Raises:
            TextTooLong: with ``Strategy.FULL``, above the runtime's safe size.
        """


class Runtime(Encoder):
    """A loaded model.

    ``encode`` may be called also while others generate. ``generate`` and ``summarize`` may be
    called by ``parallel`` threads at once; more than that wait for each other or slow each
    other down, but stay correct.
    """

    parallel: int = 1

    @abstractmethod
    def generate(
        self, batch: Sequence[Encoded], abandoned: AbandonedAt = none_of_them
    ) -> list[Summary]:
        """Summarize a batch of texts whose keys are equal; summaries come in its order.

        Args:
            abandoned: asked now and then for each place in the batch; once it says True
                nobody waits for that summary any more, and whatever is returned for it is
                thrown away. A runtime that cannot stop half-way may ask only at the start.
        """

    def summarize(self, text: str, generation: Generation, abandoned: Abandoned = never) -> Summary:
        """Summarize one non-blank text: ``encode``, then ``generate`` a batch of one."""
        return self.generate([self.encode(text, generation)], lambda _: abandoned())[0]
