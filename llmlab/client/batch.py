"""Summarizing many texts: bounded concurrency, and one failure does not lose the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypedDict

from llmlab.client.client import AsyncClient
from llmlab.client.protocol import Summary
from llmlab.client.sources import Source
from llmlab.errors import LlmlabError
from llmlab.service.schemas import Progress


class Answered(TypedDict):
    """Args:
    deployment: who was asked.
    usage: as in an answer over HTTP.
    seconds: until the summary was there, all tries included.
    """

    input: str
    summary: str
    model: dict[str, Any]
    deployment: str
    usage: dict[str, Any]
    request_id: str
    seconds: float


class NotAnswered(TypedDict):
    """Args:
    error: why there is no summary.
    """

    input: str
    error: str
    seconds: float


class Summaries(TypedDict):
    """All inputs, in the order in which they were given.

    Args:
        unfinished: inputs that an interrupt left out.
    """

    results: list[Answered | NotAnswered]
    failed: int
    unfinished: int


@dataclass(frozen=True)
class Outcome:
    """What became of one input: a summary or an error."""

    name: str
    seconds: float
    summary: Summary | None = None
    error: LlmlabError | None = None

    def as_json(self) -> Answered | NotAnswered:
        if self.summary is None:
            assert self.error is not None
            return {"input": self.name, "error": self.error.message, "seconds": self.seconds}
        return {
            "input": self.name,
            "summary": self.summary.text,
            "model": self.summary.model.model_dump(),
            "deployment": self.summary.deployment,
            "usage": self.summary.usage.model_dump(),
            "request_id": self.summary.request_id,
            "seconds": self.seconds,
        }


class Listener(Protocol):
    """Is told how far the sources are, by their names."""

    def read(self, name: str, progress: Progress) -> None:
        """One that has several windows is so far."""
        ...

    def done(self, name: str) -> None:
        """One has its outcome."""
        ...

    def limited(self, interval: float) -> None:
        """The lab takes one request in so many seconds, and some have to wait for that."""
        ...


@dataclass
class InOrder:
    """Passes outcomes on in the order of their sources, as soon as those before are there."""

    tell: Callable[[Outcome], None]
    _kept: dict[int, Outcome] = field(default_factory=dict)
    _next: int = 0

    def put(self, number: int, outcome: Outcome) -> None:
        self._kept[number] = outcome
        while self._next in self._kept:
            outcome = self._kept.pop(self._next)
            self._next += 1
            self.tell(outcome)

    def rest(self) -> None:
        """Those that were still waiting for one before them, which is not to come."""
        for number in sorted(self._kept):
            self.tell(self._kept.pop(number))


async def summarize_all(
    client: AsyncClient,
    sources: Sequence[Source],
    *,
    options: Mapping[str, Any],
    concurrency: int,
    listener: Listener,
    tell: Callable[[Outcome], None],
) -> None:
    """Summarize every source.

    Args:
        tell: gets the outcomes as they come, in the order of the sources. If this is cancelled,
            it still gets what was finished by then.
    """
    places = asyncio.Semaphore(concurrency)
    ordered = InOrder(tell)

    async def one(number: int, source: Source) -> None:
        async with places:
            outcome = await _summarize(client, source, options, listener)
        listener.done(source.name)
        ordered.put(number, outcome)

    client.pace.tell = listener.limited
    try:
        async with client:
            await asyncio.gather(*(one(*numbered) for numbered in enumerate(sources)))
    finally:
        ordered.rest()


async def _summarize(
    client: AsyncClient, source: Source, options: Mapping[str, Any], listener: Listener
) -> Outcome:
    start = time.monotonic()
    summary, failure = None, None
    try:
        text = await asyncio.to_thread(source.read)
        progress = partial(listener.read, source.name)
        summary = await client.summarize(text, progress=progress, **options)
    except LlmlabError as error:
        failure = error
    return Outcome(source.name, round(time.monotonic() - start, 3), summary, failure)
