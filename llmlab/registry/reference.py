"""How a registered model is named: NAME, NAME:VERSION, an alias, or sha256:DIGITS."""

from __future__ import annotations

import re
from dataclasses import dataclass

from llmlab.config.schema import wrong_name
from llmlab.errors import UsageError
from llmlab.models.identity import ELSEWHERE

FEWEST_DIGITS = 8  # of a content id, that name a model
VERSIONED = re.compile(r"([^:]+):([1-9][0-9]{0,8})")
DIGITS = re.compile(rf"sha256:([0-9a-f]{{{FEWEST_DIGITS},64}})")


@dataclass(frozen=True)
class ById:
    """The first digits of a content id: the model's own, or that of its converted form."""

    digits: str


@dataclass(frozen=True)
class ByName:
    """A name with a version; without one, an alias or the newest version of a name."""

    name: str
    version: int | None = None


def parse(reference: str) -> ById | ByName:
    """
    Raises:
        UsageError: it cannot be a reference.
    """
    if found := DIGITS.fullmatch(reference):
        return ById(found[1])
    if reference.startswith(ELSEWHERE):
        raise UsageError(
            f"{reference!r} is the id of a model elsewhere: its content cannot be hashed, so it is "
            "in no registry",
            fix="llmlab models show NAME, as it is called in configs/lab.toml",
        )
    if reference.startswith("sha256:"):
        raise UsageError(
            f"{reference!r} is no content id: it takes {FEWEST_DIGITS} to 64 hex digits",
            fix="llmlab models list -o json has them in full",
        )
    found = VERSIONED.fullmatch(reference)
    name, version = (found[1], int(found[2])) if found else (reference, None)
    if problem := wrong_name(name):
        raise UsageError(
            f"{reference!r} names no model: {problem}",
            fix="write NAME, NAME:VERSION, an alias, or sha256:DIGITS",
        )
    return ByName(name, version)


def checked_name(name: str) -> str:
    """A name for a model or an alias.

    Raises:
        UsageError: it cannot be one.
    """
    if problem := wrong_name(name):
        raise UsageError(problem)
    return name
