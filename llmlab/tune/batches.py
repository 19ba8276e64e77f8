"""In which order the examples are learned: texts of about one length in a batch.

A batch takes as long as its longest text, so filling up short ones to that is work for nothing.
The order depends on seed and epoch alone, so a run that was killed goes on in the same one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

POOL = 25  # batches; within so many, texts are sorted


class ByLength:
    """A sampler for transformers' trainer, which calls ``set_epoch``.

    Args:
        lengths: of the examples, in tokens.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self._lengths = lengths
        self._batch = batch
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        """The places of all examples, each once. The batch that is not full comes last, so that
        all others stay as they were put together."""
        draw = random.Random(self._seed * 1000 + self._epoch)  # noqa: S311  repeatable
        places = list(range(len(self._lengths)))
        draw.shuffle(places)
        step = POOL * self._batch
        batches = [
            alike[at : at + self._batch]
            for start in range(0, len(places), step)
            for alike in [sorted(places[start : start + step], key=self._lengths.__getitem__)]
            for at in range(0, len(alike), self._batch)
        ]
        draw.shuffle(batches)
        batches.sort(key=lambda one: len(one) < self._batch)
        return (place for one in batches for place in one)
