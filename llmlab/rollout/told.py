"""How answers come and end in a made-up world: what an API would tell of them.

What makes it hard is that subjects differ: some always ask for fewer words than an answer has, and
are cut off by any version; some alone ask for JSON; what is refused comes in bursts, with a topic.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from llmlab.answered import Answer


@dataclass(frozen=True)
class Told:
    """Args:
    streamed: the share of requests for a stream.
    first, gap: medians of the seconds until the first token and of the longest pause.
    spread: of both, log-normal.
    cut, refused, invalid: shares of answers that are so; ``invalid`` of those in JSON.
    json: the share of requests for JSON.
    brief: so many of the subjects, the busiest first, are always cut off.
    formal: only so many of the subjects, the busiest first, ask for JSON, and always; 0: as
        ``json`` says.
    later, stalls: what is different about the candidate: a factor of ``first``, and the share of
        its streams that pause for ``stall`` seconds.
    more_cut, more_refused, more_invalid: likewise, shares.
    """

    streamed: float = 1.0
    first: float = 0.15
    gap: float = 0.08
    spread: float = 0.5
    cut: float = 0.03
    refused: float = 0.02
    invalid: float = 0.03
    json: float = 0.3
    brief: int = 0
    formal: int = 0
    later: float = 1.0
    stalls: float = 0.0
    stall: float = 2.0
    more_cut: float = 0.0
    more_refused: float = 0.0
    more_invalid: float = 0.0

    def answer(
        self, subject: str, candidate: bool, factor: float, bursting: bool, chance: random.Random
    ) -> Answer:
        """
        Args:
            subject: s0 is the busiest one.
            factor: that everything takes as long as usual, for this subject and now.
            bursting: a topic is talked of that is refused more often than not.
        """
        number = int(subject[1:])
        streamed = chance.random() < self.streamed
        first = self.first * factor * math.exp(chance.gauss(0, self.spread))
        gap = self.gap * factor * math.exp(chance.gauss(0, self.spread))
        cut = 1.0 if subject.startswith("s") and number < self.brief else self.cut
        asks = number < self.formal if self.formal else chance.random() < self.json
        refused = 0.6 if bursting else self.refused
        worse = 1.0 if candidate else 0.0
        if candidate:
            first *= self.later
            gap = max(gap, self.stall) if chance.random() < self.stalls else gap
        is_cut = chance.random() < cut + worse * self.more_cut
        is_refused = chance.random() < refused + worse * self.more_refused
        is_invalid = chance.random() < self.invalid + worse * self.more_invalid
        return Answer(
            first if streamed else None, gap if streamed else None, None, 0, is_cut,
            "field" if is_refused else "", is_invalid if asks and not is_cut else None,
        )  # fmt: skip
