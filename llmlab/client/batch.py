"""Summarizing many texts: bounded concurrency, and one failure does not lose the others."""

from __future__ import annotations

import asyncio
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from llmlab.client.client import AsyncClient
from llmlab.client.protocol import Summary
from llmlab.errors import LlmlabError, UsageError
from llmlab.service.schemas import Progress

TEXT_SUFFIXES = (".txt", ".md", ".text")


@dataclass(frozen=True)
class Source:
    """Where a text comes from; read only when its turn comes."""

    name: str
    path: Path | None  # None: standard input

    def read(self) -> str:
        """The text.

        Raises:
            UsageError: it cannot be read, is not text in UTF-8, or is blank.
        """
        text = self._read()
        if not text.strip():
            raise UsageError(f"{'stdin' if self.path is None else self.name} is empty")
        return text

    def _read(self) -> str:
        try:
            data = self.path.read_bytes() if self.path else sys.stdin.buffer.read()
            return data.decode("utf-8-sig")
        except OSError as error:
            raise UsageError(f"{self.name} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{self.name} is not text in UTF-8 (byte {error.start})",
                fix=f"iconv -f latin1 -t utf-8 {shlex.quote(self.name)}",
            ) from None


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


def collect(inputs: Sequence[str]) -> list[Source]:
    """The sources that arguments name: files, folders (their text files), ``-``.

    Raises:
        UsageError: nothing there, or a folder without text files.
    """
    sources: list[Source] = []
    for one in inputs:
        path = Path(one)
        if one == "-":
            sources.append(Source("-", None))
        elif path.is_dir():
            found = sorted(
                file
                for file in path.rglob("*")
                if file.suffix.lower() in TEXT_SUFFIXES and file.is_file()
            )
            if not found:
                raise UsageError(f"{one} holds no text files ({', '.join(TEXT_SUFFIXES)})")
            sources += [Source(str(file), file) for file in found]
        else:
            sources.append(Source(one, path))
    return sources


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
