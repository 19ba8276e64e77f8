"""Prompts that nobody has a reason to refuse: what guards, and whatever else looks at texts, have
to let through at their defaults. Prose in many languages, code, logs, tables, and numbers and talk
of keys that look like what guards look for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, slots=True)
class Prompt:
    """
    Args:
        kind: a language, or what it is: "python", "sql", "logs", "numbers" and the like.
    """

    kind: str
    text: str


def prompts() -> list[Prompt]:
    """All of them, in the order of the file."""
    file = resources.files("llmlab.guards").joinpath("harmless.jsonl")
    return [Prompt(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
