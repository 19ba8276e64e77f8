"""Two models' answers to the same tasks, as pairs for a judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmlab.errors import LlmlabError, UsageError
from llmlab.evaluate.answer import Answer, Respondent
from llmlab.evaluate.suite import Suite
from llmlab.judging.known import Pair
from llmlab.judging.question import task_of


@dataclass(frozen=True, slots=True)
class Paired:
    """Args:
    models: {how a side is called: the id of what answered}; "" of answers in a file.
    missing: {id of a case: why there is no pair}.
    failed: what went wrong where a model was asked.
    """

    models: Mapping[str, str]
    pairs: tuple[Pair, ...]
    missing: Mapping[str, str]
    failed: tuple[LlmlabError, ...]


def paired(suite: Suite, a: Respondent, b: Respondent) -> Paired:
    """
    Raises:
        UsageError: there is no case that both have answered.
        LlmlabError: likewise, for what failed.
    """
    pairs: list[Pair] = []
    missing: dict[str, str] = {}
    failed: list[LlmlabError] = []
    for case in suite.cases:
        texts: list[str] = []
        for one in (a, b):
            answer = one.answers.get(case.id)
            if isinstance(answer, Answer):
                texts.append(answer.text)
            elif answer is None:
                missing[case.id] = f"{one.name} has no answer"
            else:
                missing[case.id] = f"{one.name}: {answer.message}"
                failed.append(answer)
        if len(texts) == 2:
            pairs.append(Pair(case.id, task_of(case), *texts))
    if pairs:
        models = {a.name: a.model_id, b.name: b.model_id}
        return Paired(models, tuple(pairs), missing, tuple(failed))
    if failed:
        raise failed[0]
    raise UsageError(
        f"there is no case of {suite.name} that both {a.name} and {b.name} have answered",
        fix="name the suite that was answered: --suite NAME",
    )
