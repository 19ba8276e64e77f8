"""What is usual for each subject: how often its requests fail, and how long they take.

A share is sticky by subject, so the answers of the two sides are a few clusters rather than many
samples: who sends long texts, or texts that fail, does so on either side. What a subject got
from the stable version is therefore what it is held against on the other one.

Seconds are taken apart into what is so for everybody at a moment (the level, which moves with
the load and the time of day) and what is so for one subject at any time (its offset), both as
logarithms: log(seconds) = level + offset + what is left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from llmlab.rollout.sequential import upper_bound

SUBJECTS = 1000  # that are remembered; the one that was silent the longest is forgotten
KNOWN = 20  # answers of the base, from which on a subject's own errors are known
FEW = 3  # answers, from which on one may say of a subject that it gets errors only
SHRINKS = 5  # answers that it takes to believe half of what a subject's own seconds say
LEVEL = 50  # answers that the level is the mean of, so to speak
FAR = 1.0  # logarithm; an answer that is further off moves the level no more than this
BRIEF = 0.001  # seconds; what takes less is a matter of the clock


@dataclass
class Own:
    """What the base made of one subject's requests. ``offset``: the sum over its timed ones."""

    answers: int = 0
    errors: int = 0
    timed: int = 0
    offset: float = 0.0

    @property
    def error_rate(self) -> float:
        return self.errors / self.answers if self.answers else 0.0

    @property
    def most_errors(self) -> float:
        """What its rate may well be; 0 for one that never had any."""
        return upper_bound(self.errors, self.answers, z=1.645) if self.errors else 0.0


@dataclass
class Subjects:
    """All that the base has answered. ``level`` is None before its first timed answer."""

    own: dict[str, Own] = field(default_factory=dict)
    everybody: Own = field(default_factory=Own)
    level: float | None = None

    def known(self, subject: str) -> Own | None:
        """What is usual for it; None if too little is known."""
        found = self.own.get(subject)
        return found if found and found.answers >= KNOWN else None

    @property
    def worst(self) -> float:
        """The share of errors of whoever has the most of them: there are such subjects."""
        return max((one.error_rate for one in self.own.values() if one.answers >= FEW), default=0.0)

    def beside_usual(self, subject: str, seconds: float) -> float:
        """The logarithm of how many times as long it took as is usual for that subject now."""
        assert self.level is not None
        own = self.own.get(subject)
        offset = own.offset / (own.timed + SHRINKS) if own else 0.0
        return math.log(max(seconds, BRIEF)) - self.level - offset

    def learn(self, subject: str, error: bool, seconds: float | None) -> None:
        """Take in an answer of the base."""
        own = self.own.pop(subject, None) or Own()
        self.own[subject] = own  # the newest is the last
        if len(self.own) > SUBJECTS:
            del self.own[next(iter(self.own))]
        for one in (own, self.everybody):
            one.answers += 1
            one.errors += error
        if seconds is None:
            return
        logarithm = math.log(max(seconds, BRIEF))
        if self.level is None:
            self.level = logarithm
        left = logarithm - self.level - own.offset / (own.timed + SHRINKS)  # as ``beside_usual``
        own.offset += logarithm - self.level
        own.timed += 1
        self.everybody.timed += 1
        # Quickly at first, when nothing is known.
        self.level += max(-FAR, min(left, FAR)) / min(LEVEL, self.everybody.timed)
