"""What `llmlab rollout pairs` tells: the figures of a rollout's pairs, and the worst of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict

from llmlab.compare.comparison import Mark, Stretch, only_in, stretches
from llmlab.evaluate.facts import Mention
from llmlab.rollout.pairs import worst_measures
from llmlab.rollout.pairs_gate import JUDGED, SAID, measured, parse_pairs_gate
from llmlab.rollout.store import Kept
from llmlab.rollout.worst_pair import WorstPair


class MeasureFigures(TypedDict):
    """One measure of all pairs.

    Args:
        candidate, stable: means, from 0 to 1; of B and of A for ab.
        margin: that the first may be above the second.
    """

    measure: str
    candidate: float
    stable: float
    n: int
    margin: float


class MarkedText(TypedDict):
    """An answer, redacted, and the names and numbers in it that its text does not have."""

    text: str
    unsupported: list[str]


class ShownPair(TypedDict):
    """The worst pair.

    Args:
        at: seconds of the epoch, when the stable version answered.
        text: redacted.
        beyond: the measures in which it is beyond the gate, the worst first.
        reasons: the same in words, each said of the candidate's answer: ``is empty``.
        judge: why the judge finds the candidate's worse, in its own words, redacted; "" where it
            does not.
    """

    at: float
    text: str
    candidate: MarkedText
    stable: MarkedText
    beyond: list[str]
    reasons: list[str]
    judge: str


class JudgeFigures(TypedDict):
    """What became of the pairs that a judge was to look at, and what that took.

    Args:
        judged: that count.
        contradictions: those of them of which it preferred the same place in both orders: ties.
        abstained: of which it said nothing that can be read, or could not be asked.
        unanswered: of which it said nothing at all; ``dropped``: that it had no time for, or that
            were too long whatever the candidate answered.
        questions: that it answered; ``tokens_in`` and ``tokens_out`` are its own.
        silent: why it says nothing at the moment; "" where it does.
    """

    judged: int
    contradictions: int
    abstained: int
    unanswered: int
    dropped: int
    questions: int
    tokens_in: int
    tokens_out: int
    silent: str


class PairsDocument(TypedDict):
    """Pairs of a rollout.

    Args:
        pairs: requests that both have answered; ``dropped``: that were too long, or that the
            candidate had no time for; ``missed``: that it failed, refused, or called a tool for.
        judge: null where none is asked.
        worst: null where none is beyond the gate, or it is older than recording.max_age.
    """

    rollout: int
    route: str
    gate: str
    share: float
    pairs: int
    dropped: int
    missed: int
    measures: list[MeasureFigures]
    judge: JudgeFigures | None
    worst: ShownPair | None


@dataclass(frozen=True)
class PairsView:
    """A rollout and its worst pair."""

    kept: Kept
    worst: WorstPair | None

    def as_json(self) -> PairsDocument:
        rollout, pairs = self.kept.rollout, self.kept.evidence.pairs
        return {
            "rollout": rollout.number, "route": rollout.route, "gate": pairs.gate,
            "share": rollout.rules.pairs, "pairs": pairs.pairs, "dropped": pairs.dropped,
            "missed": pairs.missed, "measures": list(self._figures()), "judge": self._judge(),
            "worst": self.shown(),
        }  # fmt: skip

    def _judge(self) -> JudgeFigures | None:
        pairs = self.kept.evidence.pairs
        if JUDGED not in pairs.bets:
            return None
        one, judged = pairs.judge, pairs.total.get(JUDGED)
        return {
            "judged": judged.n if judged else 0, "contradictions": one.contradictions,
            "abstained": one.abstained, "unanswered": one.unanswered, "dropped": one.dropped,
            "questions": one.questions, "tokens_in": one.tokens_in, "tokens_out": one.tokens_out,
            "silent": one.silent,
        }  # fmt: skip

    def _figures(self) -> Iterator[MeasureFigures]:
        pairs = self.kept.evidence.pairs
        for one in pairs.bounds:
            if sums := pairs.total.get(one.measure):
                mine, theirs = sums.means
                yield {
                    "measure": one.measure, "candidate": mine, "stable": theirs, "n": sums.n,
                    "margin": one.margin,
                }  # fmt: skip

    def shown(self) -> ShownPair | None:
        """None where there is none."""
        worst = self.worst
        if worst is None:
            return None
        beyond = worst_measures(worst.values, self.kept.evidence.pairs.bounds)
        mine, theirs = self.marks()
        return {
            "at": worst.at, "text": worst.text,
            "candidate": {"text": worst.tested, "unsupported": [one.text for one in mine]},
            "stable": {"text": worst.base, "unsupported": [one.text for one in theirs]},
            "beyond": beyond, "reasons": [SAID[one] for one in beyond], "judge": worst.judge,
        }  # fmt: skip

    def marked(self) -> tuple[tuple[Stretch, ...], tuple[Stretch, ...]]:
        """The candidate's answer and the stable version's, in pieces: what the text does not have,
        and what the other answer does not."""
        if self.worst is None:
            return (), ()
        texts = self.worst.tested, self.worst.base
        return tuple(  # type: ignore[return-value]
            stretches(mine, [
                *((one.start, one.end, Mark.UNSUPPORTED) for one in mentions),
                *((*place, Mark.ALONE) for place in only_in(mine, other)),
            ])
            for mine, other, mentions in zip(texts, texts[::-1], self.marks(), strict=True)
        )  # fmt: skip

    def marks(self) -> tuple[tuple[Mention, ...], tuple[Mention, ...]]:
        """Places in the candidate's answer, and in the stable version's."""
        if self.worst is None:
            return (), ()
        gate = parse_pairs_gate("")
        return measured(self.worst.text, self.worst.tested, self.worst.base, gate).unsupported
