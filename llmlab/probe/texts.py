"""Texts to send: one's own, or a built-in set whose lengths are spread as real ones are."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from importlib import resources

# Lengths of news articles and reports follow a log-normal distribution fairly well; this one
# has its median at 300 words, and one text in twenty above 1,000.
MEDIAN_WORDS, SPREAD = 300, 0.75
FEWEST, MOST = 40, 3000

Texts = Callable[[int], str]


def built_in(seed: int) -> Texts:
    """The n-th text of an endless set, the same for the same seed, none like another.

    Sentences are drawn from a list of plain facts, each with a number of its own, so that
    no answer can come from a cache.
    """
    source = resources.files("llmlab.probe").joinpath("sentences.txt")
    sentences = source.read_text(encoding="utf-8").splitlines()

    def text(number: int) -> str:
        draw = random.Random(f"{seed}/{number}")  # noqa: S311  repeatable, not secret
        wanted = min(MOST, max(FEWEST, round(draw.lognormvariate(0, SPREAD) * MEDIAN_WORDS)))
        parts = [f"Report {number} of series {seed}."]
        words = 5
        while words < wanted:
            parts.append(draw.choice(sentences))
            words += len(parts[-1].split())
        return " ".join(parts)

    return text


def in_turn(texts: Sequence[str]) -> Texts:
    """One's own texts, one after the other, and again from the start."""
    return lambda number: texts[number % len(texts)]
