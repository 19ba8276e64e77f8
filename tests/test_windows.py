"""How a long text is cut into windows, by runtimes that count in their own way."""

from __future__ import annotations

import asyncio
import threading

from llmlab.runtimes import Encoded, Generation, Strategy
from llmlab.runtimes.windows import windows
from llmlab.service.batcher import Batcher
from llmlab.service.metrics import Metrics
from llmlab.service.reader import Reader
from tests.words import PATIENCE, Words


def test_a_text_of_single_letters_is_cut_with_a_few_counts_for_each_window() -> None:
    counted: list[str] = []

    def count(piece: str) -> int:
        """As tokenizers do it for which a space before a letter is a token of its own."""
        counted.append(piece)
        return len(piece)

    text = "\n\n".join("abcdefghij"[n % 10] for n in range(2000))
    found = windows(text, 100, count)
    assert all(60 < len(piece) <= 100 for piece in found[:-1])
    assert "".join(piece.replace(" ", "") for piece in found).count("a") >= 200
    joined = [piece for piece in counted if len(piece) > 1]
    assert len(joined) < 8 * len(found)


class Slow(Words):
    """It stops in the middle of cutting a text, until it is let go on."""

    def __init__(self) -> None:
        super().__init__(window=10)
        self.encoded = 0
        self.reached, self.go_on = threading.Event(), threading.Event()

    def encode(self, text: str, generation: Generation) -> Encoded:
        if generation.strategy is not Strategy.AUTO:
            self.encoded += 1
        if self.encoded == 20:
            self.reached.set()
            assert self.go_on.wait(PATIENCE)
        return super().encode(text, generation)


def test_a_text_that_nobody_waits_for_is_not_cut_any_further() -> None:
    words = Slow()

    async def scene() -> None:
        metrics = Metrics()
        batcher = Batcher(words, metrics, limit=4, budget=100, most=4)
        reader = Reader(words, batcher, metrics, longest=4)
        place = batcher.enter("a", 60)
        text = "One two three. " * 200
        generation = Generation(strategy=Strategy.AUTO)
        reading = asyncio.create_task(reader.read(text, generation, place, lambda _: None))
        assert await asyncio.to_thread(words.reached.wait, PATIENCE)
        batcher.leave(place)
        reading.cancel()
        await asyncio.wait([reading])
        words.go_on.set()
        await batcher.close()
        await asyncio.get_running_loop().shutdown_default_executor()

    asyncio.run(scene())
    assert words.encoded == 20
    assert words.read == []
