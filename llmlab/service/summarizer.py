"""Answers requests: from the cache, together with an equal one, or by reading the text.

Equal are only requests of the same subject, see ``cache``.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from llmlab.runtimes import Generation, Summary
from llmlab.service.cache import Cache, Key, key_of
from llmlab.service.metrics import Metrics
from llmlab.service.queued import Queued, QueueFull
from llmlab.service.reader import Reader, Tell
from llmlab.service.schemas import Progress
from llmlab.service.spending import Reading
from llmlab.service.waiting import Place

Source = Literal["hit", "miss", "coalesced"]


class TooSlow(Exception):
    """There was no summary within the time that the client waits."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A summary, and whether it was made for this request, for one before, or for several.

    ``queue_seconds`` passed until its text had its turn.
    """

    summary: Summary
    source: Source
    queue_seconds: float


@dataclass(eq=False, slots=True)
class _Flight:
    """A summary that is being made, and all who wait for it."""

    task: asyncio.Task[Summary]
    place: Place
    waiters: int = 0
    listeners: list[Tell] = field(default_factory=list)
    progress: Progress | None = None

    def tell(self, progress: Progress) -> None:
        self.progress = progress
        for listener in self.listeners:
            listener(progress)


class Summarizer:
    """A loaded model, ready for requests. It belongs to the event loop."""

    def __init__(self, reader: Reader, batcher: Queued, metrics: Metrics, *, cache: int) -> None:
        self._reader = reader
        self._batcher = batcher
        self._metrics = metrics
        self._cache = Cache(cache)
        self._flights: dict[Key, _Flight] = {}

    @property
    def waiting(self) -> int:
        """Requests that wait for a summary, be it in the queue or with the model."""
        return sum(flight.waiters for flight in self._flights.values())

    async def summarize(
        self,
        text: str,
        generation: Generation,
        *,
        subject: str,
        seconds: float,
        listener: Tell | None = None,
        fresh: bool = False,
        reading: Reading | None = None,
        aside: bool = False,
    ) -> Answer:
        """The summary of a text within so many seconds.

        Args:
            listener: told how far a text of several windows is.
            fresh: not one that was kept from before. One that is being made is as good.
            reading: told what that uses of the model.
            aside: nobody waits for it, so it takes no other's turn.

        Raises:
            QueueFull: too much waits already.
            TooLate: its turn would come later than that.
            TooSlow: it did take longer.
            TextTooLong: with ``Strategy.FULL``, above the runtime's safe size.
        """
        key = key_of(subject, text, generation)
        if not fresh and (found := self._cache.get(key)):
            return self._answer(found, "hit", 0.0)
        flight = self._flights.get(key)
        source: Source = "coalesced" if flight else "miss"
        if flight is None:
            flight = self._start(key, text, generation, subject, seconds, aside)
        elif flight.waiters >= self._batcher.limit:  # each of them holds its text in memory
            raise QueueFull(1)
        if reading:
            reading.place = flight.place
        summary = await self._wait(key, flight, seconds, listener)
        if reading:
            reading.done = True
        return self._answer(summary, source, flight.place.waited or 0.0)

    def _answer(self, summary: Summary, source: Source, queue_seconds: float) -> Answer:
        self._metrics.answers.labels(source).inc()
        return Answer(summary, source, queue_seconds)

    def _start(
        self,
        key: Key,
        text: str,
        generation: Generation,
        subject: str,
        seconds: float,
        aside: bool,
    ) -> _Flight:
        batcher = self._batcher
        place = batcher.enter_aside(subject) if aside else batcher.enter(subject, seconds)

        async def fly() -> Summary:
            try:
                summary = await self._reader.read(text, generation, place, flight.tell)
                self._cache.put(key, summary)
                return summary
            finally:
                self._land(key, flight)

        flight = self._flights[key] = _Flight(asyncio.create_task(fly()), place)
        return flight

    async def _wait(
        self, key: Key, flight: _Flight, seconds: float, listener: Tell | None
    ) -> Summary:
        flight.waiters += 1
        if listener:
            flight.listeners.append(listener)
            if flight.progress:
                listener(flight.progress)
        try:
            # It does not cancel the task: others may wait for it too.
            await asyncio.wait({flight.task}, timeout=seconds)
            if not flight.task.done():
                raise TooSlow
            return flight.task.result()
        finally:
            flight.waiters -= 1
            if listener:
                flight.listeners.remove(listener)
            if not flight.waiters:
                self._land(key, flight)
                flight.task.cancel()

    def _land(self, key: Key, flight: _Flight) -> None:
        """It is over, or nobody waits any more. Harmless when done twice."""
        if self._flights.get(key) is flight:
            del self._flights[key]
            self._batcher.leave(flight.place)
