"""Asking a judge: who has to answer, how it is held to its form, what that cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llmlab.client.chat import Reply
from llmlab.config.budgets import MILLIONTHS, Price
from llmlab.errors import UpstreamError, UsageError
from llmlab.judging.known import Pair
from llmlab.judging.question import SCHEMA, Question
from llmlab.judging.reading import SAME, Judgement, Reading, read, refused
from llmlab.models.identity import short_id

FREE = Price()
MOST_REFUSED = 0.1  # of the pairs: beyond that something is wrong with more than a text

# Asks a deployment: messages and options, as ``AsyncClient.chat`` has them.
Chat = Callable[..., Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Cost:
    """What it took to ask.

    Args:
        requests: that were answered.
        tokens_in, tokens_out: the judge's own.
        seconds: from the first request to the last answer.
        money: by the judge's price in lab.toml; null where it has none.
    """

    requests: int
    tokens_in: int
    tokens_out: int
    seconds: float
    money: float | None


@dataclass
class Judge:
    """A deployment that is asked which of two answers is better.

    One of which the form of its answer cannot be asked for is asked without; ``held`` says whether
    it was.

    Args:
        chat: asks.
        deployment, model_id: what has to answer. Another version of it would be another judge.
        rubric: what makes an answer better.
        seed: of its sampling, where it samples at temperature 0 at all.
        most: tokens of an answer; one that is cut off is unreadable.
        fixed: whether it is asked only as ``held`` says: as it was when it was calibrated.
    """

    chat: Chat
    deployment: str
    model_id: str
    rubric: str
    price: Price = FREE
    seed: int = 1
    most: int = 256
    held: bool = True
    fixed: bool = False
    _requests: int = 0
    _read: int = 0
    _written: int = 0
    _began: float = field(default_factory=time.perf_counter)

    async def ask(self, question: Question) -> Reading:
        """One question, in one order.

        Raises:
            AuthError: the token was refused.
            UsageError: what it is asked is refused, such as one too long for it, or a guard has
                changed it on its way.
            UpstreamError: no answer, or one of somebody else.
        """
        messages = question.messages(self.rubric)
        reply = await self._said(messages)
        answered_by = f"{self.deployment}@{short_id(self.model_id)}"
        if reply.fingerprint != answered_by:
            raise UpstreamError(
                f"the judge is {answered_by}, and {reply.fingerprint or 'somebody else'} answered",
                fix="llmlab judge show; another version of it is another judge",
            )
        self._requests += 1
        self._read += reply.usage.prompt
        self._written += reply.usage.completion
        if reply.redacted:
            raise UsageError(
                "a guard of this lab has redacted what the judge was asked, so it judged others",
                fix="texts without what [[guards]] in configs/lab.toml redact",
            )
        return read(reply.text)

    async def _said(self, messages: Sequence[Mapping[str, str]]) -> Reply:
        # A route may have the deployment's name, and lead to another one.
        how: dict[str, Any] = {
            "deployment": self.deployment, "fresh": True,
            "temperature": 0.0, "seed": self.seed, "max_tokens": self.most,
        }  # fmt: skip
        if self.held:
            try:
                return await self.chat(messages, json_schema=SCHEMA, **how)
            except UsageError as error:
                if self.fixed:
                    raise
                refused = error
            try:
                reply = await self.chat(messages, **how)
            except UsageError:
                raise refused from None
            self.held = False
            return reply
        return await self.chat(messages, **how)

    async def judge(self, pair: Pair) -> Judgement:
        """A pair in both orders."""
        a_first, b_first = self.questions(pair)
        return Judgement(await self.ask(a_first), await self.ask(b_first))

    @staticmethod
    def questions(pair: Pair) -> tuple[Question, Question]:
        one = Question(pair.task, pair.a, pair.b)
        return one, replace(one, first=pair.b, second=pair.a)

    @property
    def cost(self) -> Cost:
        money = self._read * self.price.input + self._written * self.price.output
        return Cost(
            self._requests, self._read, self._written, time.perf_counter() - self._began,
            None if self.price == FREE else money / MILLIONTHS,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Judged:
    """A pair, and what the judge said of it.

    Args:
        again: what it said when it was asked the first question once more; None where it was not.
    """

    pair: Pair
    judgement: Judgement
    again: Reading | None = None


async def judge_all(
    judge: Judge,
    pairs: Sequence[Pair],
    *,
    concurrency: int,
    again: int = 0,
    same_is_tie: bool = False,
    done: Callable[[], None] = lambda: None,
) -> list[Judged]:
    """What the judge says of every pair, in their order. One that is refused is an abstention.

    Args:
        again: every so-many-th pair is asked about once more, word by word; 0 = none.
        same_is_tie: two answers that are the same are a tie without a question.
        done: called after each pair.

    Raises:
        UsageError: more than ``MOST_REFUSED`` of them were refused.
        LlmlabError: one could not be asked about; the others are not waited for.
    """
    places = asyncio.Semaphore(concurrency)
    refusals: list[UsageError] = []

    async def one(number: int, pair: Pair) -> Judged:
        async with places:
            if same_is_tie and pair.a.strip() == pair.b.strip():
                found = Judged(pair, SAME)
            else:
                try:
                    judgement = await judge.judge(pair)
                    repeat = bool(again) and number % again == 0
                    more = await judge.ask(judge.questions(pair)[0]) if repeat else None
                    found = Judged(pair, judgement, more)
                except UsageError as error:
                    refusals.append(error)
                    if len(refusals) > MOST_REFUSED * len(pairs):
                        raise _too_many(refusals, len(pairs)) from None
                    found = Judged(pair, refused(error.message))
            done()
            return found

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(*item)) for item in enumerate(pairs)]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def _too_many(refusals: Sequence[UsageError], pairs: int) -> UsageError:
    one = refusals[0]
    return UsageError(
        f"{len(refusals)} of {pairs} pairs were refused so far, and no more than "
        f"{MOST_REFUSED:.0%} may be; the first: {one.message}",
        fix=one.fix
        or "shorter texts, or a judge.model that takes such; llmlab judge calibrate if "
        "it takes no JSON schema by now",
    )
