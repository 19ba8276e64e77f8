"""What every runtime promises: load a model once, then turn text into a summary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from llmlab.errors import UsageError


class Strategy(StrEnum):
    """What to do with a text that is longer than the model's window."""

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
class Summary:
    """A summary and what it cost, in the unit of the runtime (tokens or words)."""

    text: str
    input_tokens: int
    output_tokens: int
    truncated: bool


class TextTooLong(UsageError):
    """The text does not fit into what this runtime can read at once."""


Abandoned = Callable[[], bool]


def never() -> bool:
    """Somebody waits for this summary to its end."""
    return False


class Runtime(Protocol):
    """A loaded model. One thread at a time calls ``summarize``."""

    def summarize(self, text: str, generation: Generation, abandoned: Abandoned = never) -> Summary:
        """Summarize one non-blank text.

        Args:
            abandoned: asked now and then; once it says True nobody waits for the
                summary any more, and whatever is returned is thrown away.

        Raises:
            TextTooLong: with ``Strategy.FULL``, above the runtime's safe size.
        """
        ...
