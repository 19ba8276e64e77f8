"""Puts waiting texts together and runs them beside the event loop.

A batch is cut from what waits at that moment. While the model works, the next batch gathers
by itself; who comes to an idle model waits for nobody. There is one exception: clients that
were just answered have a moment to ask again, where that can make a batch of several texts.
Without it the first of them to come back is read alone, and all others wait for that.

Texts that nobody waits for, mirrored ones, get an idle model only, one at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence

from llmlab.runtimes import Encoded, Runtime, Summary
from llmlab.service.metrics import Metrics
from llmlab.service.queued import entered
from llmlab.service.waiting import FairQueue, Job, Place

log = logging.getLogger("llmlab.service")
SMOOTHING = 0.2
CLOSING = 5.0  # seconds for a batch that nobody waits for to end
# How long clients have to ask again: so much of the time that it took to answer them, and so
# many seconds at most, which is enough for a way there and back.
MOMENT, LONGEST_MOMENT = 0.03, 0.1
QUIET = 0.05  # seconds without a request, after which a text that nobody waits for has its turn

Outcome = Summary | Exception


class Batcher:
    """A model with a queue in front of it. Its methods belong to the event loop; the model
    works in threads of its own.

    Args:
        limit: requests that may wait; those whose texts are all with the model do not.
        budget: tokens of one batch, padding included.
        most: texts of one batch.
        clock: gives seconds.
    """

    def __init__(
        self,
        runtime: Runtime,
        metrics: Metrics,
        *,
        limit: int,
        budget: int,
        most: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._runtime = runtime
        self._metrics = metrics
        self._clock = clock
        self._budget, self._most = budget, most
        self.limit = limit
        self._queue = FairQueue(limit)
        self._changed = threading.Condition()  # guards all below and the queue
        self._closed = False
        self._idle = 0  # threads
        self._running = 0  # texts
        self._aside = False  # whether one of them is a text that nobody waits for
        self._busy = -math.inf  # when the last text came or went that somebody waited for
        self._seconds: float | None = None  # of the model for one text; a moving average
        self._threads = [
            threading.Thread(target=self._work, name=f"generate-{number}", daemon=True)
            for number in range(runtime.parallel)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def texts(self) -> tuple[int, int]:
        """Texts that wait for their turn, and texts that the model works on."""
        with self._changed:
            return len(self._queue), self._running

    def enter(self, subject: str, seconds: float) -> Place:
        """Claim a place for a request; ``leave`` gives it back.

        Args:
            seconds: how long the client will wait.

        Raises:
            QueueFull: there is none for this subject.
            TooLate: it would wait for longer than that.
        """
        with self._changed:
            return entered(self._queue, subject, seconds, self._time_for)

    def enter_aside(self, subject: str) -> Place:
        """A place for a text that nobody waits for: it takes no other's, and no other's turn."""
        return Place(subject, waits=False, aside=True)

    def leave(self, place: Place) -> None:
        """The request is answered or given up: its texts that wait are dropped, and the model
        is told of those that it works on."""
        with self._changed:
            self._queue.leave(place)

    async def generate(
        self, place: Place, texts: Sequence[Encoded], progress: Callable[[], None] = lambda: None
    ) -> list[Summary]:
        """The summaries of one request's texts, in their order.

        Args:
            progress: called after each of them.

        Raises:
            Exception: whatever the model raised on one of them.
        """
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Summary]] = [loop.create_future() for _ in texts]
        now = self._clock()
        jobs = [
            Job(text, place, _settler(loop, future, progress), now)
            for text, future in zip(texts, futures, strict=True)
        ]
        with self._changed:
            self._queue.add(place, jobs)
            self._busy = self._busy if place.aside else now
            self._changed.notify_all()  # one that waits for clients to come back may not be enough
        return list(await asyncio.gather(*futures))

    async def close(self) -> None:
        """End the threads, for there is nobody left who waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        deadline = time.monotonic() + CLOSING
        for thread in self._threads:
            await asyncio.to_thread(thread.join, max(0.0, deadline - time.monotonic()))

    def _time_for(self, texts: int) -> float:
        """Seconds until the model has read so many texts beyond those that it works on."""
        return (self._seconds or 0.0) * (texts + self._running) / self._runtime.parallel

    # --- the threads of the model ------------------------------------------------

    def _work(self) -> None:
        expected, moment = 0, 0.0
        while (batch := self._next_batch(expected, moment)) is not None:
            start = self._clock()
            for job in batch:
                waited = start - job.since
                self._metrics.stage.labels("queue").observe(waited)
                if job.place.waited is None:
                    job.place.waited = waited
            outcomes = self._outcomes(batch)
            end = self._clock()
            seconds = end - start
            waiting = self._took(batch, outcomes, start, end)
            for job, outcome in zip(batch, outcomes, strict=True):
                job.done(outcome)
            expected = 0 if batch[0].place.aside else min(waiting + len(batch), self._most)
            moment = min(MOMENT * seconds, LONGEST_MOMENT)

    def _next_batch(self, expected: int, moment: float) -> list[Job] | None:
        """Wait for texts; None when there will be no more.

        Args:
            expected: texts that will wait once the clients that this thread has just answered
                have asked again, for which they have a moment, in seconds.
        """
        with self._changed:
            if expected > 1:
                self._changed.wait_for(lambda: self._closed or len(self._queue) >= expected, moment)
            self._idle += 1
            quiet = self._wait_for_texts()
            share = 0 if quiet else self._share()
            self._idle -= 1
            if self._closed:
                return None
            if quiet:
                self._aside = True
                batch = self._queue.take_aside()
            else:
                batch = self._queue.take(self._budget, min(self._most, share))
            self._running += len(batch)
            return batch

    def _wait_for_texts(self) -> bool:
        """Wait for something to read, or the end. Returns whether it is a text that nobody
        waits for, as nothing else was there for a while."""
        while not (self._closed or len(self._queue)):
            quiet_in: float | None = None
            if self._queue.aside and not self._aside:
                quiet_in = self._busy + QUIET - self._clock()
                if quiet_in <= 0:
                    return True
            self._changed.wait(quiet_in)
        return False

    def _share(self) -> int:
        """How many of the texts that wait are one thread's part: all idle threads get the same,
        and none more than its part of all that is there. So batches stay of one size, and the
        thread with the shorter one is soon back for the rest."""
        waiting = len(self._queue)
        part = math.ceil((waiting + self._running) / self._runtime.parallel)
        return min(math.ceil(waiting / self._idle), part)

    def _outcomes(self, batch: Sequence[Job]) -> Sequence[Outcome]:
        try:
            summaries = self._runtime.generate(
                [job.encoded for job in batch], lambda number: batch[number].place.given_up
            )
            if len(summaries) != len(batch):
                raise RuntimeError(f"{len(summaries)} summaries of {len(batch)} texts")
        except Exception as error:
            if len(batch) == 1:
                return [error]
            # One text that the model fails on must not fail the others of its batch.
            log.warning(
                "a batch of %d texts failed (%s); each is tried alone",
                len(batch),
                type(error).__name__,
            )
            return [outcome for job in batch for outcome in self._outcomes([job])]
        return summaries

    def _took(
        self, batch: Sequence[Job], outcomes: Sequence[Outcome], start: float, end: float
    ) -> int:
        """Count a batch that was read. Returns the texts that wait before anybody is answered:
        counted later, clients that are back already would be waited for once more."""
        wanted, seconds = sum(not job.place.given_up for job in batch), end - start
        with self._changed:
            waiting = len(self._queue)
            self._running -= len(batch)
            if batch[0].place.aside:  # alone, it says nothing of the pace in batches
                self._aside = False
                self._changed.notify_all()  # another thread may have the next one
            else:
                self._busy = end
                if wanted:  # else it stopped half-way, and says nothing of the next one
                    before = seconds / wanted if self._seconds is None else self._seconds
                    self._seconds = before + SMOOTHING * (seconds / wanted - before)
        read = sum(job.encoded.tokens for job in batch)
        written = sum(one.output_tokens for one in outcomes if isinstance(one, Summary))
        self._metrics.batch(len(batch), read, written, seconds)
        return waiting


def _settler(
    loop: asyncio.AbstractEventLoop,
    future: asyncio.Future[Summary],
    progress: Callable[[], None],
) -> Callable[[Outcome], None]:
    """Settle a future from another thread, if anybody still waits for it."""

    def settle(outcome: Outcome) -> None:
        if future.done():
            return
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
            progress()

    def from_anywhere(outcome: Outcome) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(settle, outcome)

    return from_anywhere
