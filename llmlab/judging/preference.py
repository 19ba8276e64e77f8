"""Which of two models a judge prefers, on the same tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypedDict

from llmlab.evaluate.evaluation import SuiteUsed
from llmlab.evaluate.statistics import Interval, wilson
from llmlab.judging.asking import Cost, Judged
from llmlab.judging.calibration import told
from llmlab.judging.reading import ABSTENTIONS, Choice

LEAST = 10  # pairs that say anything of a share
SHOWN = 3  # pairs of which the other one is preferred


@dataclass(frozen=True, slots=True)
class JudgedBy:
    """Args:
    name: the deployment that was asked.
    rubric: its hash.
    calibrated: when, in UTC, ISO 8601.
    suite: by which it was calibrated; may be another one than the one that is judged.
    suite_digest: its hash.
    lacks: kinds of damage with which it was not tried, for that suite has nothing that they damage.
    """

    name: str
    model_id: str
    rubric: str
    calibrated: str
    suite: str
    suite_digest: str
    lacks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """Two answers to a task, and which one the judge prefers.

    Args:
        id: of the case.
        choice: a, b or tie; or that the judge has said nothing that counts.
        why: in the judge's own words.
    """

    id: str
    choice: Choice
    why: str
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Preference:
    """How often a is preferred.

    Args:
        wins, losses: pairs of which a, or b, is preferred in both orders.
        ties: pairs of which neither is, in one order at least.
        abstentions: pairs of which the judge contradicts itself, cannot be read, or could not be
            asked. They count for nobody.
        refused: those of them that it could not be asked about.
        rate: wins and half of the ties, among wins, ties and losses; null without any.
        interval: Wilson's, 95 %, as wide as those of the pairs without the abstentions, and with
            them as ties, are together.
    """

    n: int
    wins: int
    ties: int
    losses: int
    abstentions: int
    refused: int
    rate: float | None
    interval: Interval


@dataclass(frozen=True)
class Compared:
    """Two models as a judge prefers them.

    Args:
        judge: who judged.
        missing: {id of a case: why there is no pair}.
        why: in one sentence.
        at_least: what the whole interval of the rate was asked to reach; null if nothing was.
        passed: whether it does; null if nothing was asked.
        worst: the first pairs of which b is preferred.
    """

    judge: JudgedBy
    suite: SuiteUsed
    a: str
    b: str
    preference: Preference
    why: str
    at_least: float | None
    passed: bool | None
    missing: Mapping[str, str]
    worst: tuple[JudgedPair, ...]
    pairs: tuple[JudgedPair, ...]
    cost: Cost

    @classmethod
    def of(
        cls, judge: JudgedBy, suite: SuiteUsed, sides: tuple[str, str], judged: Sequence[Judged],
        *, missing: Mapping[str, str], at_least: float | None, cost: Cost,
    ) -> Self:  # fmt: skip
        """
        Args:
            sides: how a and b are called.
            judged: their pairs.
        """
        (a, b), found, pairs = sides, preference_of(judged), _pairs_of(judged)
        worst = tuple(one for one in pairs if one.choice is Choice.B)[:SHOWN]
        passed = None if at_least is None else passes(found, at_least) and not missing
        why = sentence(a, b, found)
        if missing:
            so = "" if at_least is None else ", and so nothing is passed"
            why += f"; of {len(missing)} more cases one answer is missing{so}"
        return cls(
            judge, suite, a, b, found, why, at_least, passed, missing, worst, pairs, cost
        )  # fmt: skip


class JudgedBeside(TypedDict):
    """Args:
    preference: of the model over its baseline, by the judge; null without --judge.
    """

    preference: Compared | None


def preference_of(judged: Sequence[Judged]) -> Preference:
    choices = [one.judgement.choice for one in judged]
    wins, losses = choices.count(Choice.A), choices.count(Choice.B)
    ties = choices.count(Choice.TIE)
    abstentions = sum(one in ABSTENTIONS for one in choices)
    counted, score = wins + ties + losses, wins + ties / 2
    return Preference(
        len(choices), wins, ties, losses, abstentions, choices.count(Choice.REFUSED),
        score / counted if counted else None, _interval(score, counted, abstentions),
    )  # fmt: skip


def _interval(score: float, counted: int, abstentions: int) -> Interval:
    """A few clear pairs among many abstentions are no proof that one is better; and abstentions
    alone are none that two are alike. So what is claimed has to hold either way."""
    if not counted:
        return Interval(0.0, 1.0, 0.95)
    without = wilson(score, counted)
    as_ties = wilson(score + abstentions / 2, counted + abstentions)
    return Interval(
        min(without.low, as_ties.low), max(without.high, as_ties.high), without.level
    )  # fmt: skip


def _pairs_of(judged: Sequence[Judged]) -> tuple[JudgedPair, ...]:
    return tuple(
        JudgedPair(one.pair.id, one.judgement.choice, one.judgement.why, one.pair.a, one.pair.b)
        for one in judged
    )


def sentence(a: str, b: str, found: Preference) -> str:
    """What follows of it."""
    counted = found.n - found.abstentions
    counts = (
        f"{found.wins} wins, {found.ties} ties, {found.losses} losses and {found.abstentions} "
        f"abstentions in {found.n} pairs"
    )
    if found.refused:
        counts += f", of which {found.refused} were refused"
    if found.rate is None or counted < LEAST:
        return f"{counts}: fewer than {LEAST} that count decide nothing"
    share = f"a win rate of {found.rate:.2f} ({told(found.interval)})"
    if found.interval.low > 0.5:
        return f"{a} is preferred to {b}, by {share}: {counts}"
    if found.interval.high < 0.5:
        return f"{b} is preferred to {a}, which has {share}: {counts}"
    return f"these pairs do not decide between {a} and {b}, with {share}: {counts}"


def passes(found: Preference, at_least: float) -> bool:
    """Whether the whole interval lies at or above a share. No data never passes."""
    counted = found.n - found.abstentions
    return counted >= LEAST and found.interval.low >= at_least
