"""Summarizing many texts: bounded concurrency, and one failure does not lose the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from llmlab.client.client import AsyncClient
from llmlab.client.protocol import Summary
from llmlab.client.sources import Source
from llmlab.errors import LlmlabError
from llmlab.service.schemas import Progress


@dataclass(frozen=True)
class Outcome:
    """What became of one input: a summary or an error."""

    name: str
    seconds: float
    summary: Summary | None = None
    error: LlmlabError | None = None

    def as_json(self) -> dict[str, Any]:
        if self.summary is None:
            assert self.error is not None
            return {"input": self.name, "error": self.error.message, "seconds": self.seconds}
        return {
            "input": self.name,
            "summary": self.summary.text,
            "model": self.summary.model.model_dump(),
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


def summarize_all(
    client: AsyncClient,
    sources: Sequence[Source],
    *,
    options: Mapping[str, Any],
    concurrency: int,
    listener: Listener | None,
) -> list[Outcome]:
    """Summarize every source; outcomes in the order of the sources."""

    async def run() -> list[Outcome]:
        places = asyncio.Semaphore(concurrency)

        async def one(source: Source) -> Outcome:
            async with places:
                outcome = await _summarize(client, source, options, listener)
                if listener:
                    listener.done(source.name)
                return outcome

        async with client:
            return list(await asyncio.gather(*(one(source) for source in sources)))

    return asyncio.run(run())


async def _summarize(
    client: AsyncClient, source: Source, options: Mapping[str, Any], listener: Listener | None
) -> Outcome:
    start = time.monotonic()
    summary, failure = None, None
    try:
        text = await asyncio.to_thread(source.read)
        progress = partial(listener.read, source.name) if listener else None
        summary = await client.summarize(text, progress=progress, **options)
    except LlmlabError as error:
        failure = error
    return Outcome(source.name, round(time.monotonic() - start, 3), summary, failure)
