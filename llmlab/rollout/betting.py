"""The bets that are made on the units of a slice, in whatever respect they are looked at: of a
share of answers, or of how many of them were later than is usual."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from llmlab.rollout.observed import Bets, Unit, Value, mean
from llmlab.rollout.speed import Condition
from llmlab.rollout.subjects import SUBJECTS, Subjects

# Units of a subject that the base never answered which speak against a candidate, and how many
# more there are for each other such subject: of many, no single one decides.
STRANGER, AMONG = 3, 0.25
Units = Mapping[str, Unit]


def is_told(strangers: dict[str, int], subjects: Subjects, subject: str) -> bool:
    """Whether a unit of that subject may speak against the candidate. Asked once for each."""
    if subjects.known(subject):
        return True
    seen = strangers.pop(subject, 0) + 1
    strangers[subject] = seen
    if len(strangers) > SUBJECTS:
        del strangers[next(iter(strangers))]
    return seen <= STRANGER + AMONG * (len(strangers) - 1)


def bet_on_share(
    bets: Bets, margin: float, subjects: Subjects, tested: Units, base: Units, tells: set[str]
) -> None:
    """Whether more of the candidate's answers are errors, or whatever the units count as such.

    Args:
        margin: that its share may be above the other's.
        tells: subjects whose units may speak against it.
    """
    everybody = subjects.everybody.error_rate
    for subject, unit in tested.items():
        if not unit.answers:
            continue
        own = subjects.known(subject)
        usual, most = (own.error_rate, own.most_errors) if own else (everybody, 0.0)
        bets.tested.append(Value(unit.errors / unit.answers, usual, most, subject in tells))
    for subject, unit in base.items():
        if unit.answers:
            own = subjects.known(subject)
            usual = own.error_rate if own else everybody
            bets.base.append(Value(unit.errors / unit.answers, usual))
    for mine_all, theirs_all in bets.groups():
        theirs = mean([one.share for one in theirs_all])
        moved = mean([one.usual for one in theirs_all])
        if told := [one for one in mine_all if one.tells]:
            mine, most = mean([one.share for one in told]), mean([one.most for one in told])
            against(bets, mine, max(theirs, most), margin)
        mine = mean([one.share for one in mine_all])
        moved -= mean([one.usual for one in mine_all])
        # The other's share of errors, if it had had these subjects.
        in_favour(bets, mine, theirs - moved, margin, max(0.0, moved))


def against(bets: Bets, mine: float, theirs: float, margin: float) -> None:
    bets.worse.bet(mine - theirs - margin, 1.0 + margin)


def in_favour(bets: Bets, mine: float, theirs: float, margin: float, moved: float) -> None:
    at_worst = max(1.0 - margin + moved, 0.5)
    bets.as_good.bet(margin + theirs - mine, at_worst)


def bet_on_speed(
    bets: Bets, number: int, condition: Condition, tested: Units, base: Units, tells: set[str],
    *, compares: bool,
) -> None:  # fmt: skip
    """Whether more of the candidate's answers are slow, by one of the conditions.

    Args:
        compares: the question is whether there is a difference.
    """
    for units, waiting in ((tested, bets.tested), (base, bets.base)):
        for subject, unit in units.items():
            if unit.timed:
                share = unit.slow[number] / unit.timed
                waiting.append(Value(share, tells=subject in tells))
    for mine_all, theirs_all in bets.groups():
        theirs = mean([one.share for one in theirs_all])
        if told := [one.share for one in mine_all if one.tells]:
            bets.worse.bet(mean(told) - max(theirs, condition.allowed), 1.0)
        mine = mean([one.share for one in mine_all])
        if compares:
            bets.as_good.bet(theirs - mine, 1.0)
        else:
            bets.as_good.bet(condition.allowed - mine, condition.quantile)


def are_slow(
    conditions: Sequence[Condition], limits: Sequence[float], subjects: Subjects, subject: str,
    seconds: float,
) -> list[bool]:  # fmt: skip
    """For each of the conditions, or none while that cannot be said.

    Args:
        limits: how many times as long as usual an answer may take, as a logarithm.
    """
    if not limits:
        return []
    usual = seconds / exp(subjects.beside_usual(subject, seconds))
    return [
        seconds > one.limit(usual * exp(limit))
        for one, limit in zip(conditions, limits, strict=True)
    ]


def exp(value: float) -> float:
    return math.exp(min(value, 300.0))
