"""What a judge says of pairs, as evidence: of each pair it is asked in both orders which answer is
better, and the share of which the candidate's is worse may be above that of which it is better by
so much: ``judged_worse<=+0.10``.

A pair is (1, 0) if the candidate's answer is worse in both orders, (0, 1) if it is better, and
(0, 0) for a tie and for a judge that changes its mind with the order: the difference lies between
-1 and 1, and a judge that guesses moves it nowhere. A pair of which the judge says nothing that can
be read, or cannot be asked, counts for nobody and is told. So is what it cost.

Two answers that are the same are a tie without a question. That is evidence, and says nothing of
whether the judge is there: where any of a step differ, it has to have said something of one.

Without its judge a rollout is neither ended nor taken on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from llmlab.judging.reading import Choice
from llmlab.rollout.lately import MOST, noted, too_many
from llmlab.rollout.pairs_gate import JUDGED, parse_pairs_gate
from llmlab.rollout.state import Rules

# The choices of a judge, to whom the candidate's answer is ``a``.
SHOWS: Mapping[Choice, tuple[float, float]] = {
    Choice.A: (0.0, 1.0),
    Choice.B: (1.0, 0.0),
    Choice.TIE: (0.0, 0.0),
    Choice.CONTRADICTION: (0.0, 0.0),
}


@dataclass
class JudgeCounts:
    """What became of pairs that a judge was to look at, in the whole rollout, and what it took.

    Args:
        contradictions: of which it preferred the same place in both orders; they are ties.
        abstained: of which it said nothing that can be read, or could not be asked; among them
            those that only the candidate's answer makes too long.
        unanswered: of which it said nothing at all.
        dropped: that it had no time for, or that were too long whatever the candidate answered.
        questions: that it answered; ``tokens_in`` and ``tokens_out`` are its own.
        silent: why it says nothing at the moment; "" where it does.
        lately: of the newest pairs that it was asked about, whether it said what counts.
        differ: pairs of this step that it is to be asked about; ``heard``: of which it said what
            counts.
    """

    contradictions: int = 0
    abstained: int = 0
    unanswered: int = 0
    dropped: int = 0
    questions: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    silent: str = ""
    lately: list[bool] = field(default_factory=list)
    differ: int = 0
    heard: int = 0

    def begin(self) -> None:
        """Another step."""
        self.differ = self.heard = 0

    def add(
        self, choice: Choice | None, *, asked: bool = True, of_step: bool = True
    ) -> tuple[float, float] | None:
        """Take note of what it said of a pair.

        Args:
            choice: None for nothing at all.
            asked: it was; else the two answers are the same.
            of_step: the pair is one of this step.

        Returns:
            What that shows; None for nothing that counts.
        """
        shown = SHOWS.get(choice) if choice else None
        self.contradictions += choice is Choice.CONTRADICTION
        self.unanswered += choice is None
        self.abstained += choice is not None and shown is None
        if asked:
            self.lately = noted(self.lately, shown is not None)
            self.heard += of_step and shown is not None
        return shown

    def holds(self, of_step: int, step_pairs: int) -> str:
        """Why no step passes as things are; "" for nothing.

        Args:
            of_step: pairs of this step that count, ties without a question among them, in which
                there were ``step_pairs``.
        """
        if self.silent:
            return f"the judge {self.silent}, and nothing passes without it"
        if nothing := too_many(self.lately):
            return (
                f"of the last {len(self.lately)} pairs the judge says nothing that counts of "
                f"{nothing}, which may be {100 * MOST:g} %"
            )
        if step_pairs and not of_step:
            return "the judge has said nothing yet of this step"
        if self.differ and not self.heard:
            return "the judge has said nothing yet of the pairs of this step that differ"
        return ""

    @property
    def told(self) -> str:
        """What it took, for a sentence."""
        left = {
            "abstained": self.abstained, "unanswered": self.unanswered, "dropped": self.dropped,
        }  # fmt: skip
        others = "".join(f", {count} {name}" for name, count in left.items() if count)
        return (
            f"{self.questions} questions, {self.tokens_in} tokens read and {self.tokens_out} "
            f"written{others}"
        )

    @property
    def figures(self) -> dict[str, float]:
        return {
            "contradictions": self.contradictions, "abstained": self.abstained,
            "unanswered": self.unanswered, "dropped": self.dropped, "questions": self.questions,
            "tokens_in": self.tokens_in, "tokens_out": self.tokens_out,
        }  # fmt: skip


def asks_judge(rules: Rules) -> bool:
    """Whether a judge is evidence in a rollout by these rules."""
    return rules.pairs > 0 and any(
        one.measure == JUDGED for one in parse_pairs_gate(rules.pairs_gate)
    )
