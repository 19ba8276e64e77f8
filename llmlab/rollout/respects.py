"""One respect in which answers are judged beside their errors and their latency: how often they
are cut off, say, or how late their first token comes.

The units and the bets are those of ``evidence``, and each respect has by itself what is usual for
each subject: who asks for three words is cut off by any version.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from llmlab.answered import Answer
from llmlab.rollout.answer_gate import Bound
from llmlab.rollout.betting import are_slow, bet_on_share, bet_on_speed, exp, is_told
from llmlab.rollout.observed import RECENT, Bets, Unit, push, quantile_of
from llmlab.rollout.speed import FEWEST
from llmlab.rollout.subjects import Subjects


@dataclass
class Respect:
    """
    Args:
        tested_units, base_units: of the slice that is open.
        beside_usual, limits: as ``Evidence`` has them.
        base_told: answers of the base in this rollout that say something of it.
    """

    bound: Bound
    bets: Bets = field(default_factory=Bets)
    subjects: Subjects = field(default_factory=Subjects)
    strangers: dict[str, int] = field(default_factory=dict)
    tested_units: dict[str, Unit] = field(default_factory=dict)
    base_units: dict[str, Unit] = field(default_factory=dict)
    beside_usual: list[float] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)
    base_told: int = 0

    def learn(self, subject: str, answer: Answer) -> None:
        """Take in an answer of the base: what is usual."""
        if self.bound.condition is None:
            if (hit := self.bound.hit(answer)) is not None:
                self.subjects.learn(subject, hit, None)
        elif (seconds := self.bound.seconds(answer)) is not None:
            if self.subjects.level is not None:
                push(self.beside_usual, self.subjects.beside_usual(subject, seconds), RECENT)
            self.subjects.learn(subject, False, seconds)

    def add(self, subject: str, answer: Answer, tested: bool) -> bool | None:
        """Take in what a client got. Gives whether it is one of those that are to be few; None
        where it says nothing of that."""
        units = self.tested_units if tested else self.base_units
        if self.bound.condition is None:
            hit = self.bound.hit(answer)
            if hit is not None:
                self.base_told += not tested
                unit = units.setdefault(subject, Unit())
                unit.answers += 1
                unit.errors += hit
            return hit
        seconds = self.bound.seconds(answer)
        if seconds is None:
            return None
        self.base_told += not tested
        slow = are_slow([self.bound.condition], self.limits, self.subjects, subject, seconds)
        if not slow:
            return None
        unit = units.setdefault(subject, Unit(slow=[0]))
        unit.timed += 1
        unit.slow[0] += slow[0]
        return slow[0]

    def close(self, margin: float, *, equal: bool, compares: bool) -> None:
        """Bet on the units of the slice.

        Args:
            margin: of a share.
            equal: the candidate has no more load than what it is held against.
        """
        if self.tested_units or self.base_units:
            tells = {
                one for one in self.tested_units if is_told(self.strangers, self.subjects, one)
            }
            units = self.tested_units, self.base_units
            condition = self.bound.condition
            if condition is None:
                bet_on_share(self.bets, margin, self.subjects, *units, tells)
            elif equal or not condition.ratio:  # more load is no fault of a version
                bet_on_speed(self.bets, 0, condition, *units, tells, compares=compares)
            self.tested_units, self.base_units = {}, {}
        if self.bound.condition and len(self.beside_usual) >= FEWEST:
            ordered = sorted(self.beside_usual)
            self.limits = [quantile_of(ordered, self.bound.condition.quantile)]

    @property
    def limit(self) -> float | None:
        """Seconds above which it is late, for a usual subject, now; None while nobody knows."""
        if not self.limits or self.subjects.level is None or self.bound.condition is None:
            return None
        return self.bound.condition.limit(exp(self.subjects.level + self.limits[0]))
