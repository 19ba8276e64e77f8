"""How far a judge can be trusted: what it said of pairs whose answers are known.

A judge is valid if the intervals of its figures lie wholly within the bounds of lab.toml. So too
few pairs prove nothing, and a judge that guesses is refused however lucky it is in some of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from llmlab.config.judge import Judge as Bounds
from llmlab.evaluate.statistics import Interval, difference_of_shares, wilson
from llmlab.judging.asking import Cost, Judged
from llmlab.judging.known import KINDS
from llmlab.judging.reading import Choice, Place

UNSURE = "more pairs would have to show that it is not {}"


@dataclass(frozen=True, slots=True)
class Share:
    """Of so many.

    Args:
        value: ``hits`` among ``n``; null where there is none, and then the interval is 0 to 1.
        interval: Wilson's, 95 %.
    """

    hits: int
    n: int
    value: float | None
    interval: Interval

    @classmethod
    def of(cls, found: Sequence[bool]) -> Share:
        hits, n = sum(found), len(found)
        if not n:
            return cls(0, 0, None, Interval(0.0, 1.0, 0.95))
        return cls(hits, n, hits / n, wilson(hits, n))


@dataclass(frozen=True, slots=True)
class PositionBias:
    """How much more often the first place was preferred than the second, whatever stood there.

    Args:
        first, second: pairs of which that place was preferred in both orders.
        value: from -1 to 1; 0 is none.
        interval: of the difference of the two shares, 95 %.
    """

    first: int
    second: int
    n: int
    value: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Missed:
    """A pair of which a judge did not say what is known.

    Args:
        id: of the case.
        kind: what was done to one of the answers.
        choice: what it said: a is the good one.
        why: in its own words.
    """

    id: str
    kind: str
    choice: Choice
    why: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What a calibration has measured.

    Args:
        agreement: pairs of which it said what is known.
        kinds: the same, by what was done to the other answer.
        position_bias: of its preferences.
        noise: questions that it answered otherwise when they were asked again.
        contradictions: pairs of which it preferred the same place in both orders.
        unreadable: pairs of which an answer was not of the form that was asked for.
        refused: pairs that it could not be asked about, which count as missed.
    """

    agreement: Share
    kinds: Mapping[str, Share]
    position_bias: PositionBias
    noise: Share
    contradictions: Share
    unreadable: Share
    refused: Share

    @property
    def lacks(self) -> tuple[str, ...]:
        """Kinds of pairs with which nothing was tried: the answers have not what they damage."""
        return tuple(kind for kind in KINDS if kind not in self.kinds)


@dataclass(frozen=True, slots=True)
class Key:
    """What a calibration is one of. Where one of these changes, it says nothing any more.

    Args:
        model_id: the judge's.
        rubric, suite: their hashes.
        suite_name: as it was named.
        protocol: of how a judge is asked.
    """

    model_id: str
    rubric: str
    suite_name: str
    suite: str
    protocol: int


@dataclass(frozen=True)
class Calibration:
    """A judge that was held against known answers.

    Args:
        judge: the deployment that was asked.
        when: in UTC, ISO 8601.
        held: whether the form of its answers could be asked for as a JSON schema.
        missed: the first pairs of each kind of which it did not say what is known.
    """

    judge: str
    key: Key
    when: str
    seed: int
    held: bool
    figures: Figures
    missed: tuple[Missed, ...]
    cost: Cost


class Standing(TypedDict):
    """Args:
    valid: whether it may judge.
    problems: why it may not.
    """

    valid: bool
    problems: list[str]


class JudgeShown(Standing):
    """Who judges, and whether it may.

    Args:
        judge: the deployment that is asked.
        rubric: its hash.
        calibration: the latest; null where there is none.
    """

    judge: str
    model_id: str
    rubric: str
    calibration: Calibration | None


def figures_of(judged: Sequence[Judged]) -> Figures:
    """
    Args:
        judged: known pairs.
    """
    choices = [one.judgement.choice for one in judged]
    right = [one.judgement.choice is one.pair.right for one in judged]
    repeated = [one for one in judged if one.again is not None]
    kinds = {
        kind: Share.of([
            hit for hit, one in zip(right, judged, strict=True) if one.pair.kind == kind
        ])
        for kind in KINDS
    }  # fmt: skip
    return Figures(
        agreement=Share.of(right),
        kinds={kind: share for kind, share in kinds.items() if share.n},
        position_bias=_bias(judged),
        noise=Share.of([
            one.again is not None and one.again.place is not one.judgement.a_first.place
            for one in repeated
        ]),
        contradictions=Share.of([one is Choice.CONTRADICTION for one in choices]),
        unreadable=Share.of([one is Choice.UNREADABLE for one in choices]),
        refused=Share.of([one is Choice.REFUSED for one in choices]),
    )  # fmt: skip


def _bias(judged: Sequence[Judged]) -> PositionBias:
    places = [one.judgement.by_place for one in judged]
    first, second, n = places.count(Place.FIRST), places.count(Place.SECOND), len(places)
    if not n:
        return PositionBias(0, 0, 0, 0.0, Interval(-1.0, 1.0, 0.95))
    interval = difference_of_shares(first, second, n)
    return PositionBias(first, second, n, (first - second) / n, interval)


def missed(judged: Sequence[Judged], each: int = 1) -> tuple[Missed, ...]:
    """So many of each kind, of which the judge did not say what is known."""
    found: list[Missed] = []
    for kind in KINDS:
        wrong = [
            one for one in judged
            if one.pair.kind == kind and one.judgement.choice is not one.pair.right
        ]  # fmt: skip
        found += [
            Missed(one.pair.id, kind, one.judgement.choice, one.judgement.why)
            for one in wrong[:each]
        ]
    return tuple(found)


def problems(figures: Figures, bounds: Bounds) -> Iterator[str]:
    """Why a judge with these figures may not judge, each in a sentence; nothing if it may."""
    yield from _agreement_problems(figures, bounds)
    bias, most = figures.position_bias, bounds.max_position_bias
    if bias.interval.low < -most or bias.interval.high > most:
        what = (
            "it goes by the place"
            if abs(bias.value) > most
            else UNSURE.format("one that goes by the place")
        )
        yield (
            f"{what}: of {bias.n} pairs it prefers the first place in {bias.first} and the second "
            f"in {bias.second}, whatever stands there, a bias of {bias.value:+.2f} "
            f"({told(bias.interval, signed=True)}), which does not lie within {most:g}"
        )
    noise = figures.noise
    if noise.interval.high > bounds.max_noise:
        noisy = noise.value is not None and noise.value > bounds.max_noise
        what = "it is noisy" if noisy else UNSURE.format("noisy")
        yield (
            f"{what}: asked the same again, it says something else in {noise.hits} of {noise.n} "
            f"({told(noise.interval)}), which does not lie within {bounds.max_noise:g}"
        )


def _agreement_problems(figures: Figures, bounds: Bounds) -> Iterator[str]:
    found, least = figures.agreement, bounds.min_agreement
    if found.interval.low < least:
        wrong = found.value is not None and found.value < least
        what = "it cannot tell good answers from damaged ones"
        yield (
            f"{what if wrong else UNSURE.format('too often wrong')}: right in {found.hits} of "
            f"{found.n} pairs ({told(found.interval)}), which does not lie above {least:g}"
        )
    blind = [
        f"{kind} ({share.hits} of {share.n})"
        for kind, share in figures.kinds.items()
        if share.interval.high < least
    ]
    if blind:
        yield (
            f"it is blind to some kinds of pairs, with an interval wholly below {least:g}: "
            f"{', '.join(blind)}"
        )


def told(interval: Interval, *, signed: bool = False) -> str:
    form = "{:+.2f}" if signed else "{:.2f}"
    low, high = form.format(interval.low), form.format(interval.high)
    return f"{100 * interval.level:g} % interval {low} to {high}"
