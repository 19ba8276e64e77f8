"""Looks at a lab: how far it is with the objectives of the course."""

from __future__ import annotations

from llmlab.course.evidence import Evidence
from llmlab.course.finding import Finding, Result
from llmlab.course.objectives import OBJECTIVES
from llmlab.errors import LlmlabError, UsageError


def look(lab: Evidence, number: int) -> Result:
    """Check one objective.

    Raises:
        UsageError: there is no such objective, or lab.toml cannot be read.
    """
    if number not in OBJECTIVES:
        raise UsageError(
            f"there is no objective {number}; there are 1 to {len(OBJECTIVES)}",
            fix="llmlab course list",
        )
    return Result(number, tuple(check(lab) for check in OBJECTIVES[number]))


def look_at_all(lab: Evidence) -> list[Result]:
    """All objectives. Where one cannot be judged, it says why, and the others are judged."""
    results = []
    for number, checks in OBJECTIVES.items():
        try:
            results.append(look(lab, number))
        except LlmlabError as error:
            one = Finding(False, error.message.splitlines()[0], error.fix or "llmlab doctor")
            results.append(Result(number, (one,) * len(checks)))
    return results
