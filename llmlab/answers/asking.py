"""Asking several models for summaries of the same texts, in turns.

All models get a text before the next text is sent, each time another model first: a moment in
which the machine is busy meets them all, so their times can be compared.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from llmlab.client.protocol import Summary
from llmlab.errors import LlmlabError
from llmlab.evaluate.answer import Answer, Respondent

Ask = Callable[[str], Awaitable[Summary]]


@dataclass
class Asked:
    """A model that can be asked. What it says of itself is kept from its first answer."""

    name: str
    ask: Ask
    model_id: str = ""
    runtime: str = ""
    answers: dict[str, Answer | LlmlabError] = field(default_factory=dict)

    async def answer(self, key: str, text: str) -> None:
        start = time.perf_counter()
        try:
            summary = await self.ask(text)
        except LlmlabError as error:
            self.answers[key] = error
            return
        seconds = time.perf_counter() - start
        self.model_id, self.runtime = summary.model.id, summary.model.runtime
        usage = summary.usage
        self.answers[key] = Answer(
            summary.text, seconds, usage.truncated, usage.windows,
            usage.input_tokens, usage.output_tokens, summary.request_id,
        )  # fmt: skip

    def respondent(self, order: Sequence[str]) -> Respondent:
        answers = {key: self.answers[key] for key in order}
        return Respondent(self.name, self.model_id, self.runtime, answers)


async def ask_all(
    models: Sequence[Asked],
    texts: Mapping[str, str],
    *,
    concurrency: int,
    done: Callable[[], None] = lambda: None,
) -> list[Respondent]:
    """Every model's answer to every text; a failure takes the place of its answer.

    Args:
        texts: by id.
        concurrency: texts that are under way at a time. Times are comparable with any number,
            but only with 1 do they say how long one request takes.
        done: called after each answer.
    """
    places = asyncio.Semaphore(concurrency)

    async def one(number: int, key: str, text: str) -> None:
        async with places:
            first = number % len(models)
            for model in (*models[first:], *models[:first]):
                await model.answer(key, text)
                done()

    await asyncio.gather(*(one(number, *item) for number, item in enumerate(texts.items())))
    return [model.respondent(list(texts)) for model in models]
