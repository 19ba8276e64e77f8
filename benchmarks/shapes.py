"""What is asked of every system: sizes, decodings, and how many clients at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CONCURRENCY = (1, 8, 32)
DECODINGS: dict[str, dict[str, Any]] = {
    "greedy": {
        "num_beams": 1, "no_repeat_ngram_size": 0, "length_penalty": 1.0, "early_stopping": False,
    },
    "beams": {
        "num_beams": 4, "no_repeat_ngram_size": 3, "length_penalty": 2.0, "early_stopping": True,
    },
}  # fmt: skip
IN_WORDS = {"greedy": "greedy", "beams": "4 beams, no_repeat_ngram 3"}


@dataclass(frozen=True)
class Shape:
    """Of a T5 with 8 heads, and of its work.

    Args:
        width: d_model; the feed-forward layers are four times as wide.
        layers: of the encoder, and as many of the decoder.
        rows: of the table of embeddings.
        read, write: tokens of every text and of every summary.
    """

    name: str
    width: int
    layers: int
    rows: int
    read: int
    write: int

    @property
    def longest(self) -> int:
        """``max_length`` as ``generate()`` counts: with the decoder's start token."""
        return self.write + 1


SHAPES = {
    "small": Shape("small", width=512, layers=6, rows=32_128, read=512, write=60),
    "tiny": Shape("tiny", width=32, layers=2, rows=1_000, read=128, write=12),
}
