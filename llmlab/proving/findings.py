"""What a check is, and what it finds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from llmlab.errors import GateFailure
from llmlab.proving.answers import Answer, Heard

if TYPE_CHECKING:
    from llmlab.proving.target import Target


class Verdict(StrEnum):
    """In the order in which they are told."""

    FAILED = "failed"
    UNDECIDED = "undecided"
    PASSED = "passed"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Evidence:
    """What was sent and what came back, shortened and without secrets."""

    sent: str
    got: str


@dataclass(frozen=True)
class Finding:
    """What became of a check.

    Args:
        why: one sentence.
    """

    verdict: Verdict
    why: str
    evidence: tuple[Evidence, ...] = ()


Seen = Answer | Heard | Evidence


def passed(why: str, *seen: Seen) -> Finding:
    return Finding(Verdict.PASSED, why, _told(seen))


def failed(why: str, *seen: Seen) -> Finding:
    return Finding(Verdict.FAILED, why, _told(seen))


def undecided(why: str, *seen: Seen) -> Finding:
    return Finding(Verdict.UNDECIDED, why, _told(seen))


def not_applicable(why: str) -> Finding:
    return Finding(Verdict.NOT_APPLICABLE, why)


def insist(holds: bool, good: str, bad: str, *seen: Seen) -> Finding:
    """Passed or failed, with its sentence."""
    return passed(good, *seen) if holds else failed(bad, *seen)


def _told(seen: tuple[Seen, ...]) -> tuple[Evidence, ...]:
    return tuple(
        one if isinstance(one, Evidence) else Evidence(one.sent, one.shown) for one in seen[:4]
    )


Run = Callable[["Target"], Awaitable[Finding]]


@dataclass(frozen=True)
class Check:
    """
    Args:
        id: GROUP.NAME.
        proves: a sentence that is true where it passes.
        fix: what to do where it fails.
        requests: about so many are sent.
        slow: it waits for seconds, while others go on.
    """

    id: str
    proves: str
    fix: str
    run: Run = field(repr=False)
    requests: int = 1
    slow: bool = False

    @property
    def group(self) -> str:
        return self.id.partition(".")[0]


class Group:
    """The checks of one group, in the order in which a module defines them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.checks: list[Check] = []

    def check(
        self, name: str, proves: str, *, fix: str, requests: int = 1, slow: bool = False
    ) -> Callable[[Run], Run]:
        """Have a function be one of them. It gives its finding; what it cannot do anything
        about it raises: see ``running.findings``."""

        def add(run: Run) -> Run:
            self.add(name, proves, run, fix=fix, requests=requests, slow=slow)
            return run

        return add

    def add(
        self, name: str, proves: str, run: Run, *, fix: str, requests: int = 1, slow: bool = False
    ) -> None:
        """Likewise, of one that was made from a table."""
        self.checks.append(Check(f"{self.name}.{name}", proves, fix, run, requests, slow))


@dataclass(frozen=True)
class Result:
    """A check, and what it found. ``seconds`` that it took."""

    id: str
    group: str
    proves: str
    verdict: Verdict
    why: str
    fix: str
    seconds: float
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True)
class Report:
    """What was found out about a gateway.

    Args:
        target: its URL.
        known: how much is known of it: own (a running lab), apart (a copy of one, with a model
            that tells what it hears), another.
        witness: a model told what came as far as the API.
        requests, seconds: that it took.
        results: what failed first.
    """

    target: str
    known: str
    witness: bool
    started: str
    requests: int
    seconds: float
    results: tuple[Result, ...]

    def of(self, verdict: Verdict) -> tuple[Result, ...]:
        return tuple(one for one in self.results if one.verdict is verdict)

    def as_json(self) -> dict[str, Any]:
        """The document of `probe -o json`."""
        return asdict(self)

    def insist(self) -> None:
        """Raises GateFailure: a check failed."""
        if wrong := self.of(Verdict.FAILED):
            several = "checks" if len(wrong) > 1 else "check"
            raise GateFailure(
                f"{len(wrong)} {several} failed at {self.target}: "
                + ", ".join(one.id for one in wrong[:5])
                + (", ..." if len(wrong) > 5 else ""),
                fix=f"{wrong[0].fix} ({wrong[0].id})",
            )
