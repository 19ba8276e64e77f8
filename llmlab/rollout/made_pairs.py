"""What two versions make of the same texts in a made-up world.

What makes it hard is that both invent more of some subjects' texts than of others', and that what
they invent is drawn anew by each, as by a model that samples; that all that is asked gets harder
while a rollout goes on; and that the same text is sent by many, of which both make the same again.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class Both(Protocol):
    """Whether something happens to either answer."""

    def __call__(self, share: float, more: float = 0.0) -> tuple[float, float]: ...


@dataclass(frozen=True)
class MadePairs:
    """Args:
    share: of the stable version's answers that are paired.
    invented: the share of either's answers with a name or a number that is not in the text.
    hard: so many of the subjects, the busiest first, of whose texts half are answered so.
    empty, other_length: shares of either's answers that are so.
    novelty, spread: of either's words, on average, and how far from that at most.
    repetition: of either's word triples, on average; at most twice as many. 0: not told.
    other_language: share of the candidate's that are in another one. 0: not told.
    foreign, refused, cut, unfit: shares of either's that are in another language than what was
        asked, refusals, cut off, not of the format that was asked for, as half of them were.
    drift: so many more are invented by either each second, as a share, up to one half.
    popular, asked: so many texts are a share ``asked`` of all that is sent.
    more_invented, more_empty, longer, more_novelty: what is different about the candidate.
    """

    share: float = 0.2
    invented: float = 0.05
    hard: int = 0
    empty: float = 0.01
    other_length: float = 0.02
    novelty: float = 0.2
    spread: float = 0.15
    repetition: float = 0.0
    other_language: float = 0.0
    foreign: float = 0.01
    refused: float = 0.01
    cut: float = 0.02
    unfit: float = 0.02
    drift: float = 0.0
    popular: int = 0
    asked: float = 0.5
    more_invented: float = 0.0
    more_empty: float = 0.0
    longer: float = 0.0
    more_novelty: float = 0.0

    def values(
        self, subject: str, chance: random.Random, at: float = 0.0
    ) -> Mapping[str, tuple[float, float]]:
        """(the candidate's, the stable version's) of each measure that the pair shows.

        Args:
            at: seconds since the rollout began.
        """

        def both(share: float, more: float = 0.0) -> tuple[float, float]:
            return float(chance.random() < share + more), float(chance.random() < share)

        empty = both(self.empty, self.more_empty)
        if any(empty):
            return {"empty": empty}
        is_hard = subject in {f"s{number}" for number in range(self.hard)}
        invented = max(self.invented, min(0.5, self.invented + self.drift * at))
        found = {
            "empty": empty,
            "unsupported": both(0.5 if is_hard else invented, self.more_invented),
            "novelty": (self._novelty(chance) + self.more_novelty, self._novelty(chance)),
            "length": (float(chance.random() < self.other_length + self.longer), 0.0),
        }
        if self.repetition:
            most = 2 * self.repetition
            found["repetition"] = chance.uniform(0, most), chance.uniform(0, most)
        if self.other_language:
            found["language"] = float(chance.random() < self.other_language), 0.0
        return found | self._of_conversations(chance, both)

    def _of_conversations(
        self, chance: random.Random, both: Both
    ) -> dict[str, tuple[float, float]]:
        """What only those are measured by, or by another question."""
        most, less = self.other_length + self.longer, chance.random()
        length = chance.random()
        found = {
            "longer": (float(length < most), float(most <= length < most + self.other_length)),
            "shorter": (
                float(less < self.other_length),
                float(self.other_length <= less < 2 * self.other_length),
            ),
            "foreign": both(self.foreign),
            "refusals": both(self.refused),
            "cut_off": both(self.cut),
        }
        return found | ({"format": both(self.unfit)} if chance.random() < 0.5 else {})

    def _novelty(self, chance: random.Random) -> float:
        return self.novelty + chance.uniform(-self.spread, self.spread)
