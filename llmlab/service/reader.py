"""Reads a text of any length: whole if it fits the model's window, else window by window.

The summaries of the windows are the summary if they are short enough together. If not, they
are a text that is read again.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

from llmlab.runtimes import Encoded, Encoder, Generation, Strategy, Summary
from llmlab.runtimes.windows import windows
from llmlab.service.metrics import Metrics
from llmlab.service.queued import Queued
from llmlab.service.schemas import Progress
from llmlab.service.waiting import Place

# Of a window: the longest summary of one window of many. So each reading leaves a text of
# about a third (the windows overlap).
MOST_OF_A_WINDOW = 4
# A reading that leaves more than this of a text was of no use; another one would not be either.
OF_NO_USE = 0.8

Tell = Callable[[Progress], None]


class GivenUp(Exception):
    """A text is dropped while it is cut into windows."""


@dataclass(frozen=True)
class Reader:
    """A loaded model behind its queue.

    Args:
        longest: tokens of a summary where the request does not say.
    """

    runtime: Encoder
    batcher: Queued
    metrics: Metrics
    longest: int

    async def read(self, text: str, generation: Generation, place: Place, tell: Tell) -> Summary:
        """The summary of a text.

        Args:
            tell: told how far it is, if the text has several windows.

        Raises:
            TextTooLong: with ``Strategy.FULL``, above the runtime's safe size.
        """
        if generation.strategy is Strategy.AUTO:
            summary = await self._read_all(text, generation, place, tell)
        else:
            (summary,) = await self._generate(place, await self._encode([text], generation))
        self.metrics.windows.observe(summary.windows)
        return summary

    async def _read_all(
        self, text: str, generation: Generation, place: Place, tell: Tell
    ) -> Summary:
        last = replace(generation, strategy=Strategy.TRUNCATE)
        (whole,) = await self._encode([text], last)
        tokens, parts, reading, cut = whole.whole, 1, 0, False
        while whole.truncated:
            reading += 1
            summaries = await self._read_windows(text, whole.window, reading, place, tell)
            parts = len(summaries) if reading == 1 else parts
            cut = cut or any(one.truncated for one in summaries)
            text = " ".join(one.text for one in summaries)
            written = sum(one.output_tokens for one in summaries)
            if self._is_a_summary(written, generation):
                by = summaries[-1].by
                return Summary(text, tokens, written, truncated=cut, windows=parts, by=by)
            before, (whole,) = whole, await self._encode([text], last)
            if whole.whole > OF_NO_USE * before.whole:
                break
        (summary,) = await self._generate(place, [whole])
        cut = cut or summary.truncated
        return replace(summary, input_tokens=tokens, truncated=cut, windows=parts)

    async def _read_windows(
        self, text: str, window: int, reading: int, place: Place, tell: Tell
    ) -> list[Summary]:
        """A summary of each window of a text."""
        short = Generation(max_length=max(2, min(self.longest, window // MOST_OF_A_WINDOW)))
        pieces = await asyncio.to_thread(self._cut, text, short, window, place)
        encoded = await self._encode(pieces, short)

        def at(done: int) -> Progress:
            return Progress(done=done, windows=len(pieces), reading=reading)

        done = itertools.count(1)
        tell(at(0))
        return await self._generate(place, encoded, lambda: tell(at(next(done))))

    async def _generate(
        self, place: Place, encoded: list[Encoded], progress: Callable[[], None] = lambda: None
    ) -> list[Summary]:
        """Summaries, counted by what the model has read and written of each."""
        summaries = await self.batcher.generate(place, encoded, progress)
        place.read += sum(one.input_tokens for one in summaries)
        place.written += sum(one.output_tokens for one in summaries)
        return summaries

    def _is_a_summary(self, written: int, generation: Generation) -> bool:
        longest = self.longest if generation.max_length is None else generation.max_length
        return (generation.min_length or 0) <= written <= longest

    def _cut(self, text: str, generation: Generation, window: int, place: Place) -> list[str]:
        """Windows of a text, each of which the model reads without cutting it.

        Raises:
            GivenUp: nobody waits for them any more. A thread cannot be cancelled from outside.
        """
        bare = self.runtime.encode(".", generation).whole - 1

        def count(piece: str) -> int:
            if place.given_up:
                raise GivenUp
            return self.runtime.encode(piece, generation).whole - bare

        return windows(text, window - bare, count)

    async def _encode(self, texts: list[str], generation: Generation) -> list[Encoded]:
        with self.metrics.stage.labels("encode").time():
            return await asyncio.to_thread(
                lambda: [self.runtime.encode(one, generation) for one in texts]
            )
