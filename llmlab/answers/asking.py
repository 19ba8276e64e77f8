"""Asking several models for summaries of the same texts, or for answers to the same questions,
in turns.

All models get a text before the next text is sent, each time another model first: a moment in
which the machine is busy meets them all, so their times can be compared.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from llmlab.client.protocol import Summary
from llmlab.errors import LlmlabError
from llmlab.evaluate.answer import Answer, Respondent
from llmlab.evaluate.suite import Case


@dataclass(frozen=True)
class Told:
    """An answer, and what the model that gave it says of itself. ``seconds`` are not taken yet."""

    answer: Answer
    model_id: str
    runtime: str

    @classmethod
    def of(cls, summary: Summary) -> Told:
        usage = summary.usage
        answer = Answer(
            summary.text, 0.0, usage.truncated, usage.windows,
            usage.input_tokens, usage.output_tokens, summary.request_id,
        )  # fmt: skip
        return cls(answer, summary.model.id, summary.model.runtime)


Ask = Callable[[Case], Awaitable[Told]]


@dataclass
class Asked:
    """A model that can be asked. What it says of itself is kept from its first answer."""

    name: str
    ask: Ask
    model_id: str = ""
    runtime: str = ""
    answers: dict[str, Answer | LlmlabError] = field(default_factory=dict)

    async def answer(self, key: str, case: Case) -> None:
        start = time.perf_counter()
        try:
            told = await self.ask(case)
        except LlmlabError as error:
            self.answers[key] = error
            return
        seconds = time.perf_counter() - start
        self.model_id, self.runtime = told.model_id, told.runtime
        self.answers[key] = replace(told.answer, seconds=seconds)

    def respondent(self, order: Sequence[str]) -> Respondent:
        answers = {key: self.answers[key] for key in order}
        return Respondent(self.name, self.model_id, self.runtime, answers)


async def ask_all(
    models: Sequence[Asked],
    cases: Mapping[str, Case],
    *,
    concurrency: int,
    done: Callable[[], None] = lambda: None,
    after: Mapping[str, float] = MappingProxyType({}),
) -> list[Respondent]:
    """Every model's answer to every case; a failure takes the place of its answer.

    Args:
        cases: by the name that the answers have.
        concurrency: cases that are under way at a time. Times are comparable with any number,
            but only with 1 do they say how long one request takes.
        done: called after each answer.
        after: {name: seconds from now before which a case is not asked}.
    """
    places = asyncio.Semaphore(concurrency)

    async def one(number: int, key: str, case: Case) -> None:
        if key in after:
            await asyncio.sleep(after[key])
        async with places:
            first = number % len(models)
            for model in (*models[first:], *models[:first]):
                await model.answer(key, case)
                done()

    await asyncio.gather(*(one(number, *item) for number, item in enumerate(cases.items())))
    return [model.respondent(list(cases)) for model in models]
