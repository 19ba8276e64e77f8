"""A model judged by a suite: its scores, beside a baseline and beside what costs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

from llmlab.errors import LlmlabError
from llmlab.evaluate.answer import Answer, Respondent
from llmlab.evaluate.comparison import (
    Comparison,
    Level,
    Regression,
    compare,
    levels,
    regressions,
)
from llmlab.evaluate.gate import Gate
from llmlab.evaluate.measures import METRICS, Measures, Scores, measure
from llmlab.evaluate.statistics import RESAMPLES
from llmlab.evaluate.suite import Suite
from llmlab.evaluate.verdict import Verdict, judge

# Regressions are looked for in the first of these that the suite can measure.
TELLING = ("coverage", "rougeLsum", "checks", "unsupported")
SHOWN_REGRESSIONS = 3


@dataclass(frozen=True)
class Judged:
    """A model on a suite. ``levels`` are in the order of the metrics."""

    name: str
    model_id: str
    runtime: str
    answers: Mapping[str, Answer | LlmlabError]
    scores: Scores
    levels: tuple[Level, ...]

    def summary(self, case: str) -> str:
        answer = self.answers[case]
        return answer.text if isinstance(answer, Answer) else ""

    @property
    def failures(self) -> dict[str, LlmlabError]:
        return {key: one for key, one in self.answers.items() if isinstance(one, LlmlabError)}

    def level(self, metric: str) -> Level:
        return next(one for one in self.levels if one.metric == metric)


@dataclass(frozen=True)
class Regressions:
    """The texts on which the model is worst against its baseline, by one metric."""

    metric: str
    found: tuple[Regression, ...]


class SuiteUsed(TypedDict):
    """Args:
    n: texts.
    """

    name: str
    digest: str
    n: int


class JudgedText(TypedDict):
    """Args:
    id: of the case in the suite.
    values: {metric: value}; null where there is none.
    """

    id: str
    summary: str
    values: dict[str, float | None]


class JudgedModel(TypedDict):
    """Args:
    metrics: {metric: over all texts}.
    failed: {id of a case: why there is no summary}.
    """

    name: str
    model_id: str
    runtime: str
    metrics: dict[str, Level]
    failed: dict[str, str]
    texts: list[JudgedText]


class WorstTexts(TypedDict):
    """Args:
    metric: by which the texts are the worst against the baseline.
    """

    metric: str
    texts: list[Regression]


class EvaluationDocument(TypedDict):
    """A model judged by a suite.

    Args:
        options: what decoding was asked for, beyond the models' own.
        baseline: null without one; then there are no comparisons and no regressions.
        beside: what the model is shown beside, without being compared with it.
        comparisons: with the baseline, metric by metric.
        verdict: null without a gate.
    """

    suite: SuiteUsed
    seed: int
    resamples: int
    options: dict[str, Any]
    model: JudgedModel
    baseline: JudgedModel | None
    beside: list[JudgedModel]
    comparisons: list[Comparison]
    regressions: WorstTexts | None
    verdict: Verdict | None


@dataclass(frozen=True)
class Evaluation:
    """Everything that was found out.

    Args:
        options: what decoding was asked for, beyond the models' own.
        beside: what the model is shown beside, without being compared with it.
        comparisons: with the baseline, metric by metric; empty without one.
        verdict: None without a gate.
    """

    suite: Suite
    seed: int
    options: Mapping[str, Any]
    model: Judged
    baseline: Judged | None
    beside: tuple[Judged, ...]
    comparisons: tuple[Comparison, ...]
    regressions: Regressions | None
    verdict: Verdict | None

    @property
    def judged(self) -> tuple[Judged, ...]:
        return (self.model, *((self.baseline,) if self.baseline else ()), *self.beside)

    def as_json(self) -> dict[str, Any]:
        worst = self.regressions
        return {
            "suite": {
                "name": self.suite.name, "digest": self.suite.digest, "n": len(self.suite.cases),
            },
            "seed": self.seed,
            "resamples": RESAMPLES,
            "options": dict(self.options),
            "model": _judged_as_json(self.model),
            "baseline": _judged_as_json(self.baseline) if self.baseline else None,
            "beside": [_judged_as_json(one) for one in self.beside],
            "comparisons": [asdict(one) for one in self.comparisons],
            "regressions": None if worst is None else {
                "metric": worst.metric, "texts": [asdict(one) for one in worst.found],
            },
            "verdict": self.verdict and self.verdict.as_json(),
        }  # fmt: skip

    def facts(self) -> dict[str, Any]:
        """What a model's record keeps: figures and the verdict, without the texts."""
        levels_of = {one.metric: asdict(one) for one in self.model.levels if one.n}
        return {
            "suite": self.suite.name, "digest": self.suite.digest, "n": len(self.suite.cases),
            "seed": self.seed, "options": dict(self.options), "metrics": levels_of,
            "baseline": self.baseline and {
                "name": self.baseline.name, "model_id": self.baseline.model_id,
            },
            "verdict": self.verdict and {
                "gate": self.verdict.gate, "outcome": str(self.verdict.outcome),
                "reason": self.verdict.reason,
            },
        }  # fmt: skip


def evaluate(
    suite: Suite,
    model: Respondent,
    baseline: Respondent | None = None,
    *,
    beside: Sequence[Respondent] = (),
    gate: Gate | None = None,
    seed: int,
    options: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Measure the answers of a model and of what it is held against.

    Raises:
        GateError: the gate compares with a baseline, and there is none.
    """
    mine = _judged(suite, model, seed)
    theirs = _judged(suite, baseline, seed) if baseline else None
    compared = compare(mine.scores, theirs.scores, seed=seed) if theirs else []
    against = theirs.scores if theirs else None
    return Evaluation(
        suite=suite,
        seed=seed,
        options=options or {},
        model=mine,
        baseline=theirs,
        beside=tuple(_judged(suite, one, seed) for one in beside),
        comparisons=tuple(compared),
        regressions=_worst(mine, theirs) if theirs else None,
        verdict=judge(gate, mine.scores, against, seed=seed) if gate else None,
    )


def _judged(suite: Suite, one: Respondent, seed: int) -> Judged:
    measured: dict[str, Measures | None] = {}
    for case in suite.cases:
        answer = one.answers[case.id]
        measured[case.id] = (
            measure(
                case, answer.text, seconds=answer.seconds, cut_off=answer.cut_off,
                truncated=None if case.messages else answer.truncated,
            )
            if isinstance(answer, Answer)
            else None
        )  # fmt: skip
    scores = Scores.of(measured)
    return Judged(
        one.name, one.model_id, one.runtime, one.answers, scores, tuple(levels(scores, seed=seed))
    )


def _worst(model: Judged, baseline: Judged) -> Regressions | None:
    for name in TELLING:
        if baseline.level(name).n:
            metric = METRICS[name]
            found = regressions(model.scores, baseline.scores, metric, SHOWN_REGRESSIONS)
            return Regressions(name, tuple(found))
    return None


def _judged_as_json(one: Judged) -> dict[str, Any]:
    return {
        "name": one.name,
        "model_id": one.model_id,
        "runtime": one.runtime,
        "metrics": {level.metric: asdict(level) for level in one.levels},
        "failed": {key: error.message for key, error in one.failures.items()},
        "texts": [
            {
                "id": key,
                "summary": one.summary(key),
                "values": {name: values[place] for name, values in one.scores.columns.items()},
            }
            for place, key in enumerate(one.scores.ids)
        ],
    }
