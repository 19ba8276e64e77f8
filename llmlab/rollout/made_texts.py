"""How the answers of two versions to the texts of a suite are measured in a made-up world.

What makes it hard is that both sample: at each step they say something else, so that it is another
look.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

Row = tuple[dict[str, float | None], dict[str, float | None]]


@dataclass(frozen=True)
class MadeTexts:
    """Args:
    texts: of the suite.
    checks: the share of what is asked of an answer that it does, on average.
    words, spread: the median of their number, and how they differ (log-normal).
    empty: share of answers.
    repetition: of word triples, on average.
    fewer_checks: what is different about the candidate.
    """

    texts: int = 41
    checks: float = 0.9
    words: float = 60.0
    spread: float = 0.3
    empty: float = 0.0
    repetition: float = 0.02
    fewer_checks: float = 0.0

    def rows(self, chance: random.Random) -> list[Row]:
        """(the candidate's, the stable version's) of each text."""
        return [
            (self._row(chance, self.checks - self.fewer_checks), self._row(chance, self.checks))
            for _ in range(self.texts)
        ]

    def _row(self, chance: random.Random, checks: float) -> dict[str, float | None]:
        if chance.random() < self.empty:
            return {"empty": 1.0, "checks": 0.0, "length": 0.0, "repetition": None}
        return {
            "empty": 0.0,
            "checks": sum(chance.random() < checks for _ in range(4)) / 4,
            "length": self.words * math.exp(chance.gauss(0, self.spread)),
            "repetition": chance.uniform(0, 2 * self.repetition),
        }
