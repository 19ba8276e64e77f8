"""Asks the judge of a rollout about pairs, beside the ticks of its controller: a tick hands in what
there is, and takes over what was said since.

What waits is bounded, and so are the pairs a minute. A pair for which there is no room is dropped
and counted, whatever its answers are: two that are the same wait and cost their place like others,
or there would be more ties among what is judged than among what is answered. Texts are in memory
only, and no word of a failure is anybody's but ours: those of others may quote what was asked.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from llmlab.errors import AuthError, ConfigError, GateFailure, LlmlabError, UsageError
from llmlab.judging.allowed import Allowed, allowed_judge
from llmlab.judging.asking import Cost, Judge
from llmlab.judging.known import Pair
from llmlab.judging.reading import SAME, Choice, Judgement, refused
from llmlab.lab import Lab
from llmlab.rollout.worst_pair import WorstPair

WAITING = 20  # pairs at most that wait for the judge
AT_ONCE = 4  # pairs that it is asked about at a time
WITHIN = 120.0  # seconds, for both questions about a pair
AGAIN = 5.0  # seconds until a judge that has failed is asked again
LOOKS = 30.0  # seconds after which it is looked at anew whether it may judge
TRIES = 5.0  # seconds in which a question is asked again while the gateway lets nobody through
SILENT = f"does not answer within {WITHIN:g} s, or another one does in its place"
SUBJECT = "rollout"  # whose token it is asked by: budgets and usage know it by that name


@dataclass(frozen=True)
class Waiting:
    """A pair for the judge; ``a`` is the candidate's answer.

    Args:
        rollout, step: in which it was made.
        whole: all that is known of it.
    """

    pair: Pair
    rollout: int
    step: int
    whole: WorstPair

    @property
    def same(self) -> bool:
        """Whether the answers are, so that nobody need be asked which is better."""
        return self.pair.a.strip() == self.pair.b.strip()


@dataclass(frozen=True)
class Said:
    """What the judge said of a pair.

    Args:
        judgement: None where it did not answer.
    """

    waiting: Waiting
    judgement: Judgement | None


@dataclass(frozen=True)
class Batch:
    """What came of some pairs.

    Args:
        silent: why nothing came of them; "" where something did; None where nobody was asked, and
            it is not known whether anybody is there.
    """

    said: tuple[Said, ...]
    questions: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    silent: str | None = ""


class Judging(Protocol):
    """Asks a judge about pairs, in a thread of its own."""

    def __call__(self, pairs: Sequence[Waiting], versions: Sequence[str]) -> Batch:
        """
        Args:
            versions: deployments whose answers they are.
        """
        ...


@dataclass
class JudgeAsking:
    """Pairs that wait for the judge of one route's rollout, and the thread that asks it.

    Args:
        ask: asks it.
    """

    ask: Judging
    clock: Callable[[], float]
    _waiting: list[Waiting] = field(default_factory=list)
    _asked: Future[Batch] | None = None
    _room: float = 1.0  # pairs that it may be asked about now
    _filled: float = 0.0
    _not_before: float = 0.0

    def offer(self, one: Waiting) -> bool:
        """Whether there is room for it."""
        if len(self._waiting) >= WAITING:
            return False
        self._waiting.append(one)
        return True

    def tick(self, rate: float, versions: Sequence[str]) -> Batch | None:
        """What was said since, if anything, and have it asked about the next pairs.

        Args:
            rate: pairs a minute.
            versions: see ``Judging``.
        """
        now, found = self.clock(), None
        if self._asked and self._asked.done():
            found, self._asked = self._asked.result(), None
            if found.silent:
                self._not_before = now + AGAIN
        self._room = min(AT_ONCE, self._room + max(0.0, now - self._filled) * rate / 60)
        self._filled = now
        count = min(len(self._waiting), int(self._room))
        if self._asked is None and count and now >= self._not_before:
            self._room -= count
            batch, self._waiting = self._waiting[:count], self._waiting[count:]
            self._asked = _beside(lambda: self._batch(batch, tuple(versions)))
        return found

    def _batch(self, pairs: Sequence[Waiting], versions: Sequence[str]) -> Batch:
        try:
            return self.ask(pairs, versions)
        except Exception as error:  # a controller that ends would judge by nothing at all
            return _nothing(pairs, f"failed: {type(error).__name__}")

    def end(self) -> None:
        """Nothing is waited for any more. A question that is on its way is nobody's."""
        self._waiting.clear()
        self._asked = None


def _beside(work: Callable[[], Batch]) -> Future[Batch]:
    """In a thread that no end of the process waits for."""
    future: Future[Batch] = Future()

    threading.Thread(target=lambda: future.set_result(work()), name="judge", daemon=True).start()
    return future


@dataclass
class LabJudge:
    """The judge of a lab, asked through its gateway by the deployment's own name, as
    `llmlab judge` does: so it is in no route's evidence, and in no recording of one.
    """

    lab: Lab
    clock: Callable[[], float]
    _allowed: Allowed | None = None
    _until: float = 0.0
    _of: Sequence[str] = ()
    _answered: bool = False  # when it was last asked

    def __call__(self, pairs: Sequence[Waiting], versions: Sequence[str]) -> Batch:
        try:
            allowed = self._may_judge(versions)
        except (GateFailure, ConfigError, UsageError) as error:
            return _nothing(pairs, f"may not judge now: {error.message}")
        except LlmlabError:
            return _nothing(pairs, "cannot be asked: the lab does not run")
        try:
            return asyncio.run(self._asked(allowed, pairs))
        except AuthError:
            self._answered = False
            return _nothing(pairs, "cannot be asked: the token was refused")
        except LlmlabError:
            self._answered = False
            return _nothing(pairs, "cannot be asked: the lab's address or its keys are gone")

    def _may_judge(self, versions: Sequence[str]) -> Allowed:
        now = self.clock()
        if self._allowed is None or now >= self._until or self._of != versions:
            self._allowed, self._of = None, versions
            self._allowed, self._until = allowed_judge(self.lab, versions), now + LOOKS
        return self._allowed

    async def _asked(self, allowed: Allowed, pairs: Sequence[Waiting]) -> Batch:
        from llmlab.client import RetryPolicy
        from llmlab.client.client import AsyncClient
        from llmlab.client.credentials import LabTokens, address_of

        token = LabTokens(self.lab.keys_file, SUBJECT, lab=self.lab.root)()
        async with AsyncClient(
            address_of(self.lab, {}), token, lab=self.lab.root, retry=RetryPolicy(TRIES)
        ) as client:
            whom, calibration = allowed.whom, allowed.calibration
            judge = Judge(
                client.chat, whom.deployment, whom.model_id, allowed.rubric.text, whom.price,
                calibration.seed, allowed.most, calibration.held, fixed=True,
            )  # fmt: skip
            said = await asyncio.gather(*(_said(judge.judge, one) for one in pairs))
        return self._come_of(said, judge.cost)

    def _come_of(self, said: Sequence[Said], cost: Cost) -> Batch:
        # Two answers that are the same say nothing of whether it is there, nor does what a guard
        # has kept from it.
        asked = [one.judgement for one in said if not one.waiting.same and not _refused(one)]
        self._answered = any(asked) if asked else self._answered
        silent = "" if self._answered else None
        if asked and not self._answered:
            self._allowed, silent = None, SILENT  # it may be another one by now
            said = [Said(one.waiting, None) for one in said]
        return Batch(tuple(said), cost.requests, cost.tokens_in, cost.tokens_out, silent)


async def _said(judge: Callable[[Pair], Awaitable[Judgement]], one: Waiting) -> Said:
    if one.same:
        return Said(one, SAME)
    try:
        async with asyncio.timeout(WITHIN):
            return Said(one, await judge(one.pair))
    except AuthError:
        raise
    except UsageError as error:
        return Said(one, refused(error.message))
    except (LlmlabError, TimeoutError):
        return Said(one, None)


def _refused(one: Said) -> bool:
    return one.judgement is not None and one.judgement.choice is Choice.REFUSED


def _nothing(pairs: Sequence[Waiting], silent: str) -> Batch:
    return Batch(tuple(Said(one, None) for one in pairs), silent=silent)
