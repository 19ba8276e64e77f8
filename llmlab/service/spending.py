"""What a request has used of a model, as the gateway is told of it: see ``settling``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from starlette.types import Scope

from llmlab.service.waiting import Place

# Tokens that a model may have written behind the last one that was seen of an answer that broke
# off: what is on its way, and what it writes until it hears that nobody reads any more.
ON_ITS_WAY = 64


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens; words for the extractive runtime.

    Args:
        read, written: None where nobody knows, so that what was reserved for it stands.
        most: ``written`` is what it may be at most.
    """

    read: int | None = 0
    written: int | None = 0
    most: bool = False

    def __str__(self) -> str:
        """As a header says it: ``12 34``, ``12 <98`` or ``- -``."""
        return f"{_or_dash(self.read)} {'<' if self.most else ''}{_or_dash(self.written)}"

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            _sum(self.read, other.read), _sum(self.written, other.written), self.most or other.most
        )


NOTHING = Spent()


class Spending(Protocol):
    """Can be asked at any time what was used until then."""

    def spent(self) -> Spent: ...


def of_scope(scope: Scope) -> Spent:
    """What a request has used, all parts of it: nothing where it has not come to a model."""
    parts: list[Spending] = scope.get("state", {}).get("spending", [])
    return sum((one.spent() for one in parts), NOTHING)


def begin(scope: Scope, spending: Spending) -> None:
    """From here on a request may use something."""
    scope["state"].setdefault("spending", []).append(spending)


@dataclass
class Reading:
    """Of a summary. Whoever gets one that was kept from before uses nothing; of several who wait
    for the same one, each is told all of it."""

    place: Place | None = None
    done: bool = False

    def spent(self) -> Spent:
        if self.place is None or self.place.waited is None:
            return NOTHING  # it never had its turn
        if not self.done:
            return Spent(None, None)
        return Spent(self.place.read, self.place.written)


@dataclass
class Told:
    """What whoever asks the model says of it."""

    now: Spent = NOTHING

    def spent(self) -> Spent:
        return self.now


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
