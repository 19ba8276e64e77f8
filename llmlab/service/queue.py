"""A bounded queue in front of the model. Generation runs beside the event loop."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from llmlab.runtimes import Generation, Runtime, Summary

LONGEST_RETRY_AFTER = 60


class QueueFull(Exception):
    """So many requests wait already that this one could only time out."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the queue is full; try again in {retry_after} s")
        self.retry_after = retry_after


class GenerationQueue:
    """Runs as many generations at a time as the runtime can, in order; the rest wait, up to
    a bound."""

    def __init__(self, runtime: Runtime, *, limit: int, timeout: float) -> None:
        self._runtime = runtime
        self._limit = limit
        self._timeout = timeout
        self._parallel = runtime.parallel
        self._threads = ThreadPoolExecutor(self._parallel, thread_name_prefix="generation")
        self._seconds = 1.0  # moving average of one generation
        self.waiting = 0

    async def summarize(self, text: str, generation: Generation) -> Summary:
        """Wait for the model's turn and its answer.

        Raises:
            QueueFull: more than ``limit`` requests wait.
            TimeoutError: no answer within ``timeout`` seconds, waiting included.
        """
        if self.waiting >= self._limit + self._parallel:
            raise QueueFull(self._retry_after())
        self.waiting += 1
        abandoned = threading.Event()
        job = self._threads.submit(self._timed, text, generation, abandoned)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job), self._timeout)
        finally:
            job.cancel()  # if it still waits
            abandoned.set()  # if it runs
            self.waiting -= 1

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _timed(self, text: str, generation: Generation, abandoned: threading.Event) -> Summary:
        start = time.perf_counter()
        try:
            return self._runtime.summarize(text, generation, abandoned.is_set)
        finally:
            self._seconds += 0.2 * (time.perf_counter() - start - self._seconds)

    def _retry_after(self) -> int:
        seconds = self._seconds * self.waiting / self._parallel
        return max(1, min(LONGEST_RETRY_AFTER, math.ceil(seconds)))
