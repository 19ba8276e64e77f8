"""What a guard is: a class that finds spans in a text. All kinds have this one protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

Where = Literal["request", "answer"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Characters from ``start`` to before ``end`` of a text.

    Args:
        label: what it is, in a word: it replaces the text as ``[label]``, and is what logs and
            metrics tell. Never anything of the text itself.
    """

    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a text that is looked at.

    Args:
        where: it is a request's, or an answer's.
        asked: of an answer, the text that it answers; "" where there is none.
        ended: nothing comes behind it. False while an answer is being written.
    """

    where: Where
    asked: str = ""
    ended: bool = True


class Guard(ABC):
    """
    A streamed answer is looked at piece by piece. It is held back from where a guard says that
    something may begin which is not all there yet, see ``pending``.
    """

    # Characters of its longest finding, and what it has to see behind one to know its end.
    longest: int = 256
    # Characters before a finding that it looks at.
    context: int = 64
    # Characters that have to be new before it looks at a stream again.
    step: int = 32
    # Labels of its findings, so that metrics have them from the start. Others may come.
    labels: tuple[str, ...] = ()
    # Whether a look takes microseconds, so that no thread is worth it.
    quick: ClassVar[bool] = False

    @abstractmethod
    def find(self, text: str, about: About) -> Iterable[Finding]:
        """What there is in a text. It may be called by several threads at once."""

    def pending(self, text: str) -> int:
        """From where on a text that goes on may hold a finding that is not all there yet."""
        return max(0, len(text) - self.longest)
