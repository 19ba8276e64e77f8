"""Which texts are learned from, and which are held back: decided by each text alone.

So a text keeps its part when data is added, moved or taken away, and the same text twice is
never on both sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from llmlab.errors import UsageError
from llmlab.evaluate.suite import Case
from llmlab.evaluate.text import words

# Of 100 texts. A gate wants ten for a verdict, and some more for a narrow interval.
VALIDATION, TEST = 10, 10
FEWEST = 2  # texts to train with, and to validate with


def fingerprint(text: str) -> str:
    """The same for texts that differ in case, punctuation and white space only."""
    return hashlib.sha256(" ".join(words(text)).encode()).hexdigest()


def part_of(text: str) -> str:
    """``train``, ``validation`` or ``test``."""
    place = int(fingerprint(text)[:8], 16) % 100
    if place < VALIDATION:
        return "validation"
    return "test" if place < VALIDATION + TEST else "train"


@dataclass(frozen=True)
class Split:
    """The parts. ``repeated``: texts that were there before, and left out."""

    train: tuple[Case, ...]
    validation: tuple[Case, ...]
    test: tuple[Case, ...]
    repeated: int = 0

    @classmethod
    def of(cls, cases: Iterable[Case]) -> Split:
        """
        Raises:
            UsageError: too few texts for training, or for validation.
        """
        parts: dict[str, list[Case]] = {"train": [], "validation": [], "test": []}
        seen: set[str] = set()
        repeated = 0
        for case in cases:
            if (key := fingerprint(case.given)) in seen:
                repeated += 1
                continue
            seen.add(key)
            parts[part_of(case.given)].append(case)
        for name in ("train", "validation"):
            if len(parts[name]) < FEWEST:
                raise UsageError(
                    f"of {len(seen)} texts only {len(parts[name])} would be for {name}: too few",
                    fix=f"more data; of 100 texts {VALIDATION} are for validation and {TEST} "
                    "for the last test",
                )
        return cls(
            tuple(parts["train"]), tuple(parts["validation"]), tuple(parts["test"]), repeated
        )


def digest_of(cases: Iterable[Case]) -> str:
    """ "sha256:..." over the texts and references of a part, whatever their order."""
    lines = sorted(
        hashlib.sha256(f"{case.given}\0{case.reference or ''}".encode()).hexdigest()
        for case in cases
    )
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"
