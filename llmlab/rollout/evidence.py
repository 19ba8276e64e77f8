"""What is known of a candidate and of what it is held against.

The unit is what a subject got within two seconds (``SLICE``), not an answer: answers to the same
subject at the same time are no independent samples. Units of the two are compared if they are of
about the same time, so whatever slows the whole machine down for a while tells against neither;
and each subject with what is usual for it (``subjects``), so nor does who happens to be on which
side. A subject that the stable version never answered speaks against the candidate with its
first units only, for nobody knows whether it is the model or the subject; with the more of them,
the more such subjects there are.

Answers are taken in as they come and not kept; what stays are counts, what is usual, and the
wealth of the bets (``sequential``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter

from llmlab.rollout.answer_gate import parse_answer_gate
from llmlab.rollout.betting import (
    against,
    are_slow,
    bet_on_share,
    bet_on_speed,
    exp,
    in_favour,
    is_told,
)
from llmlab.rollout.observed import (
    RECENT,
    Arm,
    Bets,
    Lately,
    Moved,
    Texts,
    Unit,
    push,
    quantile_of,
)
from llmlab.rollout.pairs import Pairs
from llmlab.rollout.respects import Respect
from llmlab.rollout.seen import Seen
from llmlab.rollout.sequential import Wealth, lower_bound
from llmlab.rollout.speed import FEWEST, Condition, parse_speed
from llmlab.rollout.state import Kind, Rollout
from llmlab.rollout.subjects import SUBJECTS, Subjects
from llmlab.rollout.trail import Trail

SLICE = 2.0  # seconds
EQUAL = 50.0  # percent; above it the candidate has more load than what it is held against
NEW_ERRORS = 3  # answers of a subject, from which on it may be that it gets nothing but errors
MOSTLY = 0.25  # the share of them that is at least likely then
WATCHES = 30  # slices, after which money is put on a change from now on
# Seconds within which a client's library sends what failed once more, as late as it is told to: one
# request, and one failure. If its first try never reached the deployment, this one is what counts.
AGAIN = 150.0


@dataclass
class Evidence:
    """All that is known, and how far the gateway's log has been read (``cursor``).

    Args:
        margin: that the candidate's share of errors may be above the other's.
        speed: one for each of the conditions on the latency.
        respects: in which answers are judged beside those.
        compares: for ab nothing is allowed for: the question is whether there is a difference.
        equal: the candidate has no more load than what it is held against.
        failed: when a subject got its last error that counts, by deployment and subject.
        slice: that is open, as a number since 1970; ``tested_units`` and ``base_units`` are its.
        limits: how many times as long as usual an answer may take in it, as a logarithm and for
            each quantile; none while the base has none.
    """

    tested_name: str
    base_name: str
    margin: float = 0.0
    speed_gate: str = ""
    errors: Bets = field(default_factory=Bets)
    speed: list[Bets] = field(default_factory=list)
    compares: bool = False
    cursor: str = ""
    step: int = 0
    equal: bool = True
    tested: Arm = field(default_factory=Arm)
    base: Arm = field(default_factory=Arm)
    subjects: Subjects = field(default_factory=Subjects)
    moved: dict[str, Moved] = field(default_factory=dict)
    strangers: dict[str, int] = field(default_factory=dict)
    failed: dict[str, float] = field(default_factory=dict)
    slice: int = 0
    watched: int = 0
    tested_units: dict[str, Unit] = field(default_factory=dict)
    base_units: dict[str, Unit] = field(default_factory=dict)
    beside_usual: list[float] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)
    lately: Lately = field(default_factory=Lately)
    texts: Texts = field(default_factory=Texts)
    trail: Trail = field(default_factory=Trail)
    respects: list[Respect] = field(default_factory=list)
    pairs: Pairs = field(default_factory=Pairs)

    @classmethod
    def of(cls, rollout: Rollout) -> Evidence:
        """None yet."""
        ab, rules = rollout.kind is Kind.AB, rollout.rules
        return cls(
            rollout.candidate.deployment, rollout.base.deployment,
            0.0 if ab else rules.error_margin, rules.latency_gate,
            speed=[Bets() for _ in parse_speed(rules.latency_gate)], compares=ab,
            respects=[Respect(one) for one in parse_answer_gate(rules.answer_gate)],
            pairs=Pairs.of(rules, compares=ab),
        )  # fmt: skip

    @property
    def conditions(self) -> tuple[Condition, ...]:
        return _conditions(self.speed_gate)

    @property
    def _all_bets(self) -> list[Bets]:
        return [self.errors, *self.speed, *(one.bets for one in self.respects)]

    def learn(self, seen: Seen) -> None:
        """Take in an answer of the base from before the rollout: what is usual."""
        if seen.deployment == self.base_name and not (seen.gave_up or seen.refused):
            self._usual(seen)

    def begin(self, step: int, percent: float) -> None:
        """Ask anew at each step whether the candidate is as good; nothing that speaks against
        it is forgotten."""
        self.equal = percent <= EQUAL
        if step == self.step:
            return
        self.close()
        self.step = step
        self.tested.begin()
        self.base.begin()
        self.lately = Lately()
        if not self.compares:
            for bets in self._all_bets:
                bets.as_good = Wealth()
            self.pairs.begin()

    def add(self, seen: Seen) -> None:
        """Take in what a client got."""
        if seen.deployment not in (self.tested_name, self.base_name):
            return
        if seen.at >= (self.slice + 1) * SLICE:
            self.close()
            self.slice = int(seen.at // SLICE)
        if self._is_told(seen):
            return
        tested = seen.deployment == self.tested_name
        arm, units = (
            (self.tested, self.tested_units) if tested else (self.base, self.base_units)
        )  # fmt: skip
        if seen.refused:
            for count in (arm.total, arm.step):
                count.refused += 1
            return
        unit = units.setdefault(seen.subject, Unit())
        if not seen.gave_up:
            for count in (arm.total, arm.step):
                count.add(seen.error, probe=False)
            arm.add(seen.subject)
            unit.answers += 1
            unit.errors += seen.error
        self._time(seen, arm, unit)
        self._respect(seen, arm, tested)
        if not tested and not seen.gave_up:
            self._usual(seen)

    def _is_told(self, seen: Seen) -> bool:
        """Whether it is a request whose failure was counted before."""
        who = f"{seen.deployment} {seen.subject}"
        if seen.again and seen.at - self.failed.get(who, -math.inf) <= AGAIN:
            return True
        if seen.error:
            self.failed[who] = seen.at
        return False

    def _respect(self, seen: Seen, arm: Arm, tested: bool) -> None:
        if seen.answer is None:
            return
        for one in self.respects:
            hit = one.add(seen.subject, seen.answer, tested)
            if hit is not None:
                for count in (arm.total, arm.step):
                    count.tell(one.bound.name, hit)

    def _time(self, seen: Seen, arm: Arm, unit: Unit) -> None:
        if seen.seconds is None:
            return
        slow = self._slow(seen)
        # Who gave up has waited for that long at least; how long it would have been, nobody knows.
        if seen.gave_up and not any(slow):
            return
        if not seen.gave_up:
            push(arm.latencies, seen.seconds, RECENT)
        if slow:
            for count in (arm.total, arm.step):
                count.time(slow)
            unit.timed += 1
            unit.slow = [a + b for a, b in zip(unit.slow or [0] * len(slow), slow, strict=True)]

    def _slow(self, seen: Seen) -> list[bool]:
        """By answers of the base before this slice, which therefore have no say in it; for each
        of the conditions, or none while that cannot be said."""
        assert seen.seconds is not None
        return are_slow(self.conditions, self.limits, self.subjects, seen.subject, seen.seconds)

    def _usual(self, seen: Seen) -> None:
        if seen.seconds is not None and self.subjects.level is not None:
            push(self.beside_usual, self.subjects.beside_usual(seen.subject, seen.seconds), RECENT)
        self.subjects.learn(seen.subject, seen.error, seen.seconds)
        if seen.answer:
            for one in self.respects:
                one.learn(seen.subject, seen.answer)

    def until(self, now: float) -> None:
        """No answer from before ``now`` will be told any more."""
        if now >= (self.slice + 1) * SLICE:
            self.close()

    def close(self) -> None:
        """Bet on the units of the slice that is open, and open another one."""
        if self.tested_units or self.base_units:
            tells = {
                one for one in self.tested_units if is_told(self.strangers, self.subjects, one)
            }
            self._remember()
            self.lately.note(self.slice, self.tested_units, self.base_units)
            units = self.tested_units, self.base_units
            bet_on_share(self.errors, self.margin, self.subjects, *units, tells)
            for number, condition in enumerate(self.conditions):
                if self.equal or not condition.ratio:  # more load is no fault of a version
                    bets = self.speed[number]
                    bet_on_speed(bets, number, condition, *units, tells, compares=self.compares)
            self.tested_units, self.base_units = {}, {}
            now = self.slice * SLICE
            self.failed = {who: at for who, at in self.failed.items() if now - at <= AGAIN}
        for respect in self.respects:
            margin = 0.0 if self.compares else respect.bound.margin
            respect.close(margin, equal=self.equal, compares=self.compares)
        if len(self.beside_usual) >= FEWEST:
            ordered = sorted(self.beside_usual)
            self.limits = [quantile_of(ordered, one.quantile) for one in self.conditions]
        if self.slice - self.watched >= WATCHES:
            self.watched = self.slice
            for bets in self._all_bets:
                bets.worse.watch_from_now()
            self.pairs.watch_from_now()

    def _remember(self) -> None:
        for subject, unit in self.tested_units.items():
            if subject in self.moved or len(self.moved) < SUBJECTS:
                moved = self.moved.setdefault(subject, Moved())
                moved.answers += unit.answers
                moved.errors += unit.errors

    @property
    def broken_for(self) -> list[Moved]:
        """Subjects that get errors from the candidate most of the time and did not before, however
        few they are among all."""
        found = []
        for subject, one in self.moved.items():
            # A bound is no higher than the share itself, which is quicker to look at.
            if one.answers < NEW_ERRORS or one.errors <= MOSTLY * one.answers:
                continue
            if lower_bound(one.errors, one.answers) <= MOSTLY:
                continue
            own = self.subjects.own.get(subject)
            usual = own.error_rate if own else self.subjects.worst
            if usual < MOSTLY:
                found.append(one)
        return found

    def add_probe(self, tested: Seen, base: Seen) -> None:
        """Take in what both made of the same text, asked directly."""
        for arm, seen in ((self.tested, tested), (self.base, base)):
            for count in (arm.total, arm.step):
                count.add(seen.error, probe=True)
        mine, theirs = float(tested.error), float(base.error)
        against(self.errors, mine, theirs, self.margin)
        in_favour(self.errors, mine, theirs, self.margin, 0.0)
        if tested.seconds is None or base.seconds is None:
            return
        before = self.base.probe_latencies
        if len(before) >= FEWEST:
            ordered, slow = sorted(before), []
            for number, one in enumerate(self.conditions):
                limit = one.limit(quantile_of(ordered, one.quantile))
                both = tested.seconds > limit, base.seconds > limit
                slow.append(both)
                bets = self.speed[number]
                bets.worse.bet(both[0] - max(both[1], one.allowed), 1.0)
                bets.as_good.bet(one.allowed - both[0], one.quantile)
            for arm, place in ((self.tested, 0), (self.base, 1)):
                for count in (arm.total, arm.step):
                    count.time([one[place] for one in slow])
        push(self.tested.probe_latencies, tested.seconds, RECENT)
        push(self.base.probe_latencies, base.seconds, RECENT)

    def limit(self, number: int) -> float | None:
        """Seconds above which an answer to a usual subject is slow now, by one of the conditions;
        None as long as nobody knows."""
        one = self.conditions[number]
        if self.limits and self.subjects.level is not None:
            return one.limit(exp(self.subjects.level + self.limits[number]))
        if len(self.base.probe_latencies) >= FEWEST:
            return one.limit(quantile_of(sorted(self.base.probe_latencies), one.quantile))
        return None

    @property
    def broke(self) -> str:
        """What looks as if something broke just now, in words; "" for nothing."""
        return self.lately.broke(self.margin, self.subjects.everybody.error_rate)

    def dump(self) -> dict[str, Any]:
        document: dict[str, Any] = _EVIDENCE.dump_python(self, mode="json")
        return document

    @classmethod
    def parse(cls, document: object) -> Evidence:
        return _EVIDENCE.validate_python(document)


_conditions = lru_cache(maxsize=16)(parse_speed)
_EVIDENCE: TypeAdapter[Evidence] = TypeAdapter(Evidence)
