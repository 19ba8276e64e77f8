"""From a text to its summary: the cache, equal requests put together, and long texts.

A text that is longer than the model's window is cut into windows, which are summarized in
batches; the summaries are read again for as long as they are longer than one summary may be.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from llmlab.runtimes import Encoded, Generation, Runtime, Strategy, Summary
from llmlab.runtimes.windows import windows
from llmlab.service.batcher import Batcher
from llmlab.service.cache import Cache, Key, key_of
from llmlab.service.metrics import Metrics

Source = Literal["hit", "miss", "coalesced"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long text is: so many of its windows are read. ``reading`` counts from 1."""

    done: int
    windows: int
    reading: int


Listener = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """A summary, and whether it was made for this request, for one before, or for several.

    ``queue_seconds`` passed until its model began to read.
    """

    summary: Summary
    source: Source
    queue_seconds: float


@dataclass(eq=False)
class _Flight:
    """A summary that is being made, and all who wait for it."""

    waiters: int = 0
    listeners: list[Listener] = field(default_factory=list)
    task: asyncio.Task[Summary] | None = None
    queue_seconds: float | None = None

    def wanted(self) -> bool:
        return self.waiters > 0

    def tell(self, progress: Progress) -> None:
        for listener in self.listeners:
            listener(progress)


class Summarizer:
    """A loaded model, ready for requests. Everything but the model runs on the event loop.

    Args:
        longest: tokens of a summary where the request does not say.
        cache: answers to keep.
    """

    def __init__(
        self, runtime: Runtime, batcher: Batcher, metrics: Metrics, *, longest: int, cache: int
    ) -> None:
        self._runtime = runtime
        self._batcher = batcher
        self._metrics = metrics
        self._longest = longest
        self._cache = Cache(cache)
        self._flights: dict[Key, _Flight] = {}

    async def summarize(
        self,
        text: str,
        generation: Generation,
        *,
        subject: str,
        seconds: float,
        listener: Listener | None = None,
    ) -> Answer:
        """The summary of a text within so many seconds.

        Raises:
            QueueFull: it would take longer than that, or too much waits already.
            TimeoutError: it did take longer.
            TextTooLong: with ``Strategy.FULL``, above the runtime's safe size.
        """
        key = key_of(text, generation)
        found = self._cache.get(key)
        if found is not None:
            return self._answer(found, "hit", 0.0)
        source: Source = "coalesced"
        flight = self._flights.get(key)
        if flight is None:
            source = "miss"
            self._batcher.enter(subject, seconds)
            flight = self._flights[key] = _Flight()
            flight.task = asyncio.create_task(self._fly(key, flight, text, generation, subject))
        if listener:
            flight.listeners.append(listener)
        assert flight.task is not None
        flight.waiters += 1
        try:
            summary = await asyncio.wait_for(asyncio.shield(flight.task), seconds)
        finally:
            flight.waiters -= 1
            if not flight.wanted():
                self._forget(key, flight)
                flight.task.cancel()
        return self._answer(summary, source, flight.queue_seconds or 0.0)

    def _answer(self, summary: Summary, source: Source, queue_seconds: float) -> Answer:
        self._metrics.answers.labels(source).inc()
        return Answer(summary, source, queue_seconds)

    async def _fly(
        self, key: Key, flight: _Flight, text: str, generation: Generation, subject: str
    ) -> Summary:
        try:
            summary = await self._read(text, generation, subject, flight)
            self._cache.put(key, summary)
            return summary
        finally:
            self._batcher.leave(subject)
            self._forget(key, flight)

    def _forget(self, key: Key, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    # --- reading -----------------------------------------------------------------

    async def _read(
        self, text: str, generation: Generation, subject: str, flight: _Flight
    ) -> Summary:
        if generation.strategy is not Strategy.AUTO:
            encoded = await self._encode([text], generation)
            return (await self._generate(encoded, subject, flight))[0]
        return await self._read_all(text, generation, subject, flight)

    async def _read_all(
        self, text: str, generation: Generation, subject: str, flight: _Flight
    ) -> Summary:
        """Read the text, then the summaries of its windows, until they are one summary."""
        one_window = replace(generation, strategy=Strategy.TRUNCATE)
        (whole,) = await self._encode([text], one_window)
        if not whole.truncated:
            return (await self._generate([whole], subject, flight))[0]
        longest = generation.max_length or self._longest
        total, parts, cut = whole.whole, 0, False
        for reading in itertools.count(1):
            pieces = await asyncio.to_thread(self._cut, text, one_window, whole.window)
            parts = parts or len(pieces)
            encoded = await self._encode(pieces, one_window)
            counter = _counter(flight, len(pieces), reading)
            summaries = await self._generate(encoded, subject, flight, counter)
            cut = cut or any(one.truncated for one in summaries)
            shorter = " ".join(one.text for one in summaries)
            written = sum(one.output_tokens for one in summaries)
            if written <= longest or len(pieces) == 1:
                return Summary(shorter, total, written, truncated=cut, windows=parts)
            if len(shorter) > len(text) // 2:
                # A model that writes as much as it reads would go on for ever.
                shorter, cut = shorter[: len(text) // 2], True
            text = shorter
        raise AssertionError  # count() does not end

    async def _generate(
        self,
        encoded: list[Encoded],
        subject: str,
        flight: _Flight,
        progress: Callable[[], None] = lambda: None,
    ) -> list[Summary]:
        summaries, waited = await self._batcher.generate(encoded, subject, flight.wanted, progress)
        if flight.queue_seconds is None:
            flight.queue_seconds = waited
        return summaries

    def _cut(self, text: str, generation: Generation, window: int) -> list[str]:
        bare = self._runtime.encode(".", generation).whole - 1

        def count(piece: str) -> int:
            return self._runtime.encode(piece, generation).whole - bare

        return windows(text, window - bare, count)

    async def _encode(self, texts: list[str], generation: Generation) -> list[Encoded]:
        with self._metrics.stage.labels("encode").time():
            return await asyncio.to_thread(
                lambda: [self._runtime.encode(one, generation) for one in texts]
            )

    def close(self) -> None:
        self._batcher.close()
        for flight in list(self._flights.values()):
            with contextlib.suppress(AttributeError):
                flight.task.cancel()  # type: ignore[union-attr]


def _counter(flight: _Flight, count: int, reading: int) -> Callable[[], None]:
    done = 0

    def one_more() -> None:
        nonlocal done
        done += 1
        flight.tell(Progress(done, count, reading))

    return one_more
