"""Which engine runs a lab, and why."""

from __future__ import annotations

from llmlab.engines.base import Engine
from llmlab.engines.local import LocalEngine
from llmlab.errors import UsageError
from llmlab.lab import Lab


def choose_engine(configured: str, lab: Lab) -> tuple[Engine, str]:
    """The engine and one phrase that says why.

    Raises:
        UsageError: the configured engine is not part of this version.
    """
    if configured == "compose":
        raise UsageError(
            "the compose engine is not part of this version",
            fix="llmlab up --engine local",
        )
    why = "as configured" if configured == "local" else "auto: supervised processes"
    return LocalEngine(lab), why
