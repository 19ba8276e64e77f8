"""What came of a tune."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypedDict

from llmlab.registry import Record
from llmlab.tune.training import Trained


class Outcome(StrEnum):
    """How it ended. Without a gate there is nothing to accept: it is just tuned."""

    TUNED = "tuned"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    INCONCLUSIVE = "inconclusive"
    OUT_OF_BUDGET = "out of budget"

    @property
    def is_good(self) -> bool:
        return self in (Outcome.TUNED, Outcome.ACCEPTED)


@dataclass(frozen=True)
class Round:
    """A round that was judged. ``validation``: an evaluation's ``facts``."""

    number: int
    trained: Trained
    validation: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        """``pass``, ``fail`` or ``inconclusive``; "" without a gate."""
        found = self.validation["verdict"]
        return str(found["outcome"]) if found else ""

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Round:
        trained = dict(document["trained"])
        trained["losses"] = tuple(tuple(one) for one in trained["losses"])
        return cls(document["number"], Trained(**trained), document["validation"])

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Tuned(TypedDict):
    """What came of a tune.

    Args:
        outcome: tuned: without a gate; of the others only accepted is good.
        reason: of the outcome, in one sentence.
        reference: NAME:VERSION; null if it is not registered, as is ``id``.
        id: its content id.
        data: {part: texts}, and how many were left out, and why.
        overlap: with the suites that judge it.
        parameters: of the training.
        seconds: of all calls together.
        test: of the last test, as in a record's evaluations; null if it was not made.
    """

    outcome: str
    reason: str
    name: str
    base: str
    reference: str | None
    id: str | None
    data: dict[str, int]
    overlap: dict[str, Any]
    parameters: dict[str, Any]
    seed: int
    seconds: float
    rounds: list[Round]
    test: dict[str, Any] | None


@dataclass(frozen=True)
class Result:
    """All of it.

    Args:
        reason: of the outcome, in one sentence.
        test: the evaluation's ``facts`` of the last test; None if it was not made.
        record: of the registered model; None if it is not registered.
        data: the parts: {role: texts}, and how many were left out, and why.
        seconds: of all calls together.
    """

    outcome: Outcome
    reason: str
    name: str
    base: str
    rounds: tuple[Round, ...]
    test: Mapping[str, Any] | None
    record: Record | None
    data: Mapping[str, int]
    parameters: Mapping[str, Any]
    overlap: Mapping[str, Any]
    seed: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        return {
            "outcome": str(self.outcome), "reason": self.reason, "name": self.name,
            "base": self.base, "reference": self.record.reference if self.record else None,
            "id": self.record.id if self.record else None,
            "data": dict(self.data), "overlap": dict(self.overlap),
            "parameters": dict(self.parameters), "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "rounds": [one.as_json() for one in self.rounds],
            "test": None if self.test is None else dict(self.test),
        }  # fmt: skip
