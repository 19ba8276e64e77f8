"""Puts waiting texts together and runs them beside the event loop.

A batch is cut from what waits at that moment; nobody waits for a fuller one. While the
model works, the next batch gathers by itself.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence

from llmlab.runtimes import Encoded, Runtime, Summary
from llmlab.service.metrics import Metrics
from llmlab.service.waiting import FairQueue, Job

LONGEST_RETRY_AFTER = 60
SMOOTHING = 0.2


class QueueFull(Exception):
    """So much waits already that this request could only time out, or crowd out others."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the queue is full; try again in {retry_after} s")
        self.retry_after = retry_after


class Batcher:
    """A model with a queue in front of it.

    Args:
        limit: requests that may wait or run.
        budget: tokens of one batch, padding included.
        most: texts of one batch.
    """

    def __init__(
        self, runtime: Runtime, metrics: Metrics, *, limit: int, budget: int, most: int
    ) -> None:
        self._runtime = runtime
        self._metrics = metrics
        self._budget, self._most = budget, most
        self._queue = FairQueue(limit)
        self._changed = threading.Condition()
        self._closed = False
        self._idle = 0
        self._seconds = 1.0  # of the model for one text; a moving average
        for number in range(runtime.parallel):
            threading.Thread(target=self._work, name=f"generate-{number}", daemon=True).start()

    @property
    def waiting(self) -> int:
        """Requests that wait or run."""
        return self._queue.requests

    def enter(self, subject: str, seconds: float) -> None:
        """Claim a place for a request; ``leave`` gives it back.

        Args:
            seconds: how long the client will wait.

        Raises:
            QueueFull: there is none for this subject, or its turn would come too late.
        """
        with self._changed:
            wait = self._expected_wait()
            if not self._queue.admits(subject) or wait > seconds:
                raise QueueFull(max(1, min(LONGEST_RETRY_AFTER, math.ceil(wait))))
            self._queue.enter(subject)

    def leave(self, subject: str) -> None:
        with self._changed:
            self._queue.leave(subject)

    async def generate(
        self,
        texts: Sequence[Encoded],
        subject: str,
        wanted: Callable[[], bool],
        progress: Callable[[], None] = lambda: None,
    ) -> tuple[list[Summary], float]:
        """The summaries of one request's texts, in their order, and the seconds until the
        first of them had its turn.

        Args:
            wanted: whether anybody still waits; asked from other threads.
            progress: called on the event loop after each of them.
        """
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Summary]] = [loop.create_future() for _ in texts]
        now = time.perf_counter()
        jobs = [
            Job(text, subject, _settler(loop, future), wanted, now)
            for text, future in zip(texts, futures, strict=True)
        ]
        with self._changed:
            for job in jobs:
                self._queue.add(job)
            self._changed.notify(len(jobs))
        for future in futures:
            future.add_done_callback(lambda one: None if one.cancelled() else progress())
        summaries = await asyncio.gather(*futures)
        return list(summaries), min(job.waited for job in jobs)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _expected_wait(self) -> float:
        """Seconds until a text that comes now would have its summary."""
        texts = max(len(self._queue), self._queue.requests)
        return self._seconds * texts / self._runtime.parallel

    # --- the threads of the model ------------------------------------------------

    def _work(self) -> None:
        while True:
            batch = self._next_batch()
            if batch is None:
                return
            if batch:
                self._run(batch)

    def _next_batch(self) -> list[Job] | None:
        with self._changed:
            self._idle += 1
            while not len(self._queue) and not self._closed:
                self._changed.wait()
            # What waits is shared out: an idle thread beside this one gets its part.
            share = math.ceil(len(self._queue) / self._idle)
            self._idle -= 1
            if self._closed:
                return None
            return self._queue.take(self._budget, max(1, min(self._most, share)))

    def _run(self, batch: list[Job]) -> None:
        start = time.perf_counter()
        for job in batch:
            job.waited = start - job.since
            self._metrics.stage.labels("queue").observe(job.waited)
        try:
            summaries = self._runtime.generate(
                [job.encoded for job in batch], lambda place: not batch[place].wanted()
            )
        except Exception as error:
            for job in batch:
                job.done(error)
            return
        seconds = time.perf_counter() - start
        self._seconds += SMOOTHING * (seconds / len(batch) - self._seconds)
        self._metrics.batch(len(batch), sum(job.encoded.tokens for job in batch), seconds)
        for job, summary in zip(batch, summaries, strict=True):
            job.done(summary)


def _settler(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Summary]
) -> Callable[[Summary | Exception], None]:
    """Settle a future from another thread, if anybody still waits for it."""

    def settle(outcome: Summary | Exception) -> None:
        if future.done():
            return
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def from_anywhere(outcome: Summary | Exception) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, outcome)

    return from_anywhere
