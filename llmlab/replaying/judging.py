"""A version judged by what was really asked: against another one, by what needs no reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from llmlab.errors import LlmlabError
from llmlab.evaluate.answer import Respondent
from llmlab.evaluate.evaluation import Evaluation, evaluate
from llmlab.evaluate.gate import Condition, Gate, GateError
from llmlab.evaluate.measures import Scores
from llmlab.evaluate.verdict import judge
from llmlab.replaying.cases import Questions


class ReplayFacts(TypedDict):
    """How a recording was asked again.

    Args:
        pace: real: as far apart as then; fast: as soon as there is room.
        asked: requests, each of both models.
        left_out: {why: requests that were not asked again}.
        without_schema: requests whose JSON schema is not taken, so that no answer is held against
            it.
        not_judged: conditions of the gate that these requests can say nothing about.
    """

    recording: str
    pace: str
    asked: int
    left_out: dict[str, int]
    without_schema: int
    not_judged: list[str]


@dataclass(frozen=True)
class Replayed:
    """Args:
    not_judged: conditions of the gate that these requests can say nothing about.
    """

    questions: Questions
    evaluation: Evaluation
    pace: str
    not_judged: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        facts = ReplayFacts(
            recording=self.questions.suite.name, pace=self.pace, asked=len(self.questions.asked),
            left_out=dict(self.questions.left_out),
            without_schema=self.questions.without_schema, not_judged=list(self.not_judged),
        )  # fmt: skip
        return {**facts, **self.evaluation.as_json()}


def judged(
    questions: Questions,
    candidate: Respondent,
    baseline: Respondent,
    gate: Gate,
    *,
    seed: int,
    pace: str = "fast",
    options: Mapping[str, Any] | None = None,
) -> Replayed:
    """Measure the answers and judge the candidate. The same answers and seed give the same
    verdict.

    Raises:
        GateError: no condition of the gate can be judged by these requests.
        LlmlabError: one of the models has answered nothing, and the first failure says why.
    """
    for one in (candidate, baseline):
        failed = [error for error in one.answers.values() if isinstance(error, LlmlabError)]
        if failed and len(failed) == len(one.answers):
            raise failed[0]
    found = evaluate(questions.suite, candidate, baseline, seed=seed, options=options)
    assert found.baseline
    mine, theirs = found.model.scores, found.baseline.scores
    able = tuple(one for one in gate.conditions if _is_measured(one, (mine, theirs)))
    left_out = tuple(one.text for one in gate.conditions if one not in able)
    if not able:
        raise GateError(
            f"none of {gate.text} can be measured on what {questions.suite.name} asks",
            fix='--gate "empty<=+0.02 length<=1.5x"',
        )
    # What is counted is rare: few requests that show nothing are no proof that there is nothing.
    verdict = judge(Gate(able), mine, theirs, seed=seed, rare=True)
    return Replayed(questions, replace(found, verdict=verdict), pace, left_out)


def _is_measured(condition: Condition, sides: Sequence[Scores]) -> bool:
    return any(
        value is not None for side in sides for value in side.values(condition.metric).values()
    )
