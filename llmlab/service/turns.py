"""Who asks a chat model, and when: as many requests at once as it has slots, in fair turns.

The model's server puts together what it works on, token by token; here is only decided who
comes next, who comes too late, and who is turned away. Everything belongs to the event loop.

Requests that nobody waits for, mirrored ones, get an idle model only, one at a time.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from llmlab.runtimes import Encoded, Summary
from llmlab.service.metrics import Metrics
from llmlab.service.queued import entered
from llmlab.service.waiting import FairQueue, Job, Place

SMOOTHING = 0.2
QUIET = 0.05  # seconds without a request, after which one that nobody waits for has its turn
# What waits is a turn, and no text: its length is known to the model's server only.
TURN = Encoded(None, 0, 0, 0, None)


class Turns:
    """A chat model with a queue in front of it.

    Args:
        write: has the model answer a text that its encoder has read.
        slots: requests that it works on at once.
        limit: requests that may wait.
        clock: gives seconds.
    """

    def __init__(
        self,
        write: Callable[[Encoded], Awaitable[Summary]],
        metrics: Metrics,
        *,
        slots: int,
        limit: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._write = write
        self._metrics = metrics
        self._clock = clock
        self._slots = slots
        self.limit = limit
        self._queue = FairQueue(limit)
        self._running = 0
        self._busy = -math.inf  # when the last turn began or ended that somebody waited for
        self._seconds: float | None = None  # of a turn; a moving average
        self._look: asyncio.TimerHandle | None = None

    @property
    def texts(self) -> tuple[int, int]:
        """Turns that are waited for, and those that are taken."""
        return len(self._queue), self._running

    def enter(self, subject: str, seconds: float, places: int = 1) -> Place:
        """Claim a place for a request; ``leave`` gives it back.

        Args:
            seconds: how long the client will wait.
            places: as many as it has answers, each of which takes a turn.

        Raises:
            QueueFull: there is none for this subject.
            TooLate: it would wait for longer than that.
        """
        return entered(self._queue, subject, seconds, self._time_for, places)

    def enter_aside(self, subject: str) -> Place:
        """A place for a request that nobody waits for: it takes no other's turn."""
        return Place(subject, waits=False, aside=True)

    def leave(self, place: Place) -> None:
        """The request is answered or given up: it waits for no turn any more."""
        self._queue.leave(place)

    @asynccontextmanager
    async def turn(self, place: Place) -> AsyncIterator[None]:
        """Wait for a turn, and have it for a block."""
        came: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        since = self._clock()
        self._queue.add(place, [Job(TURN, place, self._giver(came), since)])
        self._busy = self._busy if place.aside else since
        self._next()
        try:
            await came
        except asyncio.CancelledError:
            if came.done() and not came.cancelled():  # it came in the same moment
                self._over()
            raise
        start = self._clock()
        self._metrics.stage.labels("queue").observe(start - since)
        if place.waited is None:
            place.waited = start - since
        try:
            yield
        finally:
            self._took(place, self._clock() - start)
            self._over()

    async def generate(
        self, place: Place, texts: Sequence[Encoded], progress: Callable[[], None] = lambda: None
    ) -> list[Summary]:
        """The summaries of one request's texts, in their order.

        Args:
            progress: called after each of them.
        """

        async def one(text: Encoded) -> Summary:
            async with self.turn(place):
                summary = await self._write(text)
            progress()
            return summary

        working = [asyncio.ensure_future(one(text)) for text in texts]
        try:
            return list(await asyncio.gather(*working))
        finally:
            for task in working:
                task.cancel()

    async def close(self) -> None:
        """There is nobody left who waits."""
        if self._look:
            self._look.cancel()

    # --- whose turn it is --------------------------------------------------------

    def _time_for(self, turns: int) -> float:
        """Seconds until so many turns beyond those that are taken have come."""
        if self._running < self._slots and not turns:
            return 0.0
        return (self._seconds or 0.0) * (turns + 1) / self._slots

    def _next(self) -> None:
        """Give the turns that there are to those who are next."""
        while self._running < self._slots and len(self._queue):
            (job,) = self._queue.take(1, 1)
            job.done(None)
        if self._queue.aside and not self._running:
            left = self._busy + QUIET - self._clock()
            if left > 0:
                self._look_again(left)
                return
            (job,) = self._queue.take_aside()
            job.done(None)

    def _look_again(self, seconds: float) -> None:
        if self._look:
            self._look.cancel()
        self._look = asyncio.get_running_loop().call_later(seconds, self._next)

    def _giver(self, came: asyncio.Future[None]) -> Callable[[object], None]:
        def give(_: object) -> None:
            if not came.done():  # else it was cancelled, and its place is about to be left
                self._running += 1
                came.set_result(None)

        return give

    def _took(self, place: Place, seconds: float) -> None:
        self._metrics.stage.labels("generate").observe(seconds)
        if not place.aside:
            self._busy = self._clock()
            before = seconds if self._seconds is None else self._seconds
            self._seconds = before + SMOOTHING * (seconds - before)

    def _over(self) -> None:
        self._running -= 1
        self._next()
