"""What checks have found of an objective."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, TypedDict


@dataclass(frozen=True)
class Finding:
    """What one check has found. ``fix`` is the next command; "" if it is done."""

    done: bool
    told: str
    fix: str = ""


class Checks(TypedDict):
    checks: list[Finding]


@dataclass(frozen=True)
class Result:
    """All checks of an objective."""

    number: int
    findings: tuple[Finding, ...]

    @property
    def done(self) -> bool:
        return all(one.done for one in self.findings)

    @property
    def passed(self) -> int:
        return sum(one.done for one in self.findings)

    def as_json(self) -> dict[str, Any]:
        return {
            "number": self.number, "done": self.done, "passed": self.passed,
            "of": len(self.findings), "checks": [asdict(one) for one in self.findings],
        }  # fmt: skip


def done(told: str) -> Finding:
    return Finding(True, told)


def missing(told: str, fix: str) -> Finding:
    return Finding(False, told, fix)
