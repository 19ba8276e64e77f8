"""What a tune says of itself while it works; by default, to nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from llmlab.tune.result import Round
from llmlab.tune.watching import Step


class Listener(Protocol):
    """Somebody who wants to know how far it is."""

    def say(self, text: str) -> None:
        """Something begins, or should be known."""

    def round_begins(self, number: int, most: int) -> None: ...

    def step(self, step: Step) -> None: ...

    def round_ends(self, played: Round) -> None: ...


@dataclass
class Nobody:
    """Does not listen."""

    def say(self, text: str) -> None:
        pass

    def round_begins(self, number: int, most: int) -> None:
        pass

    def step(self, step: Step) -> None:
        pass

    def round_ends(self, played: Round) -> None:
        pass
