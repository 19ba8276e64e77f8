"""What two versions make of the same texts in a made-up world.

What makes it hard is that both invent more of some subjects' texts than of others', and that what
they invent is drawn anew by each, as by a model that samples.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class MadePairs:
    """Args:
    share: of the stable version's answers that are paired.
    invented: the share of either's answers with a name or a number that is not in the text.
    hard: so many of the subjects, the busiest first, of whose texts half are answered so.
    empty, other_length: shares of either's answers that are so.
    novelty, spread: of either's words, on average, and how far from that at most.
    more_invented, more_empty: what is different about the candidate.
    """

    share: float = 0.2
    invented: float = 0.05
    hard: int = 0
    empty: float = 0.01
    other_length: float = 0.02
    novelty: float = 0.2
    spread: float = 0.15
    more_invented: float = 0.0
    more_empty: float = 0.0

    def values(self, subject: str, chance: random.Random) -> Mapping[str, tuple[float, float]]:
        """(the candidate's, the stable version's) of each measure that the pair shows."""

        def both(share: float, more: float = 0.0) -> tuple[float, float]:
            return float(chance.random() < share + more), float(chance.random() < share)

        empty = both(self.empty, self.more_empty)
        if any(empty):
            return {"empty": empty}
        is_hard = subject in {f"s{number}" for number in range(self.hard)}
        return {
            "empty": empty,
            "unsupported": both(0.5 if is_hard else self.invented, self.more_invented),
            "novelty": (self._novelty(chance), self._novelty(chance)),
            "length": (float(chance.random() < self.other_length), 0.0),
        }

    def _novelty(self, chance: random.Random) -> float:
        return self.novelty + chance.uniform(-self.spread, self.spread)
