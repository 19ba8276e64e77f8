"""Texts to send: one's own, or a built-in set whose lengths are spread as real ones are."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from importlib import resources

# Lengths of news articles and reports follow a log-normal distribution fairly well; this one
# has its median at 300 words, and one text in twenty above 1,000.
MEDIAN_WORDS, SPREAD = 300, 0.75
FEWEST, MOST = 40, 3000
BUILT_IN = f"built in, {FEWEST} to {MOST} words, half of them above {MEDIAN_WORDS}"

# Questions of a line or two, as people type them.
FEWEST_SENTENCES, MOST_SENTENCES = 1, 4
QUESTIONS = (
    "What is this about, in one sentence?", "Which question would you ask about this?",
    "Explain this to a child.", "What may happen next?", "Write a headline for this.",
)  # fmt: skip
BUILT_IN_QUESTIONS = (
    f"built in, each about {FEWEST_SENTENCES} to {MOST_SENTENCES} sentences of its own"
)

Texts = Callable[[int], str]


def built_in(seed: int, run: str) -> Texts:
    """The n-th text of an endless set.

    The same seed gives the same facts in the same lengths. Each text begins with its number
    and the name of the run, so that none is like another and no answer comes from a cache.
    """
    source = resources.files("llmlab.probe").joinpath("sentences.txt")
    sentences = source.read_text(encoding="utf-8").splitlines()

    def text(number: int) -> str:
        draw = random.Random(f"{seed}/{number}")  # noqa: S311  repeatable, not secret
        wanted = min(MOST, max(FEWEST, round(draw.lognormvariate(0, SPREAD) * MEDIAN_WORDS)))
        parts = [f"Report {number} of series {run}."]
        words = 5
        while words < wanted:
            parts.append(draw.choice(sentences))
            words += len(parts[-1].split())
        return " ".join(parts)

    return text


def questions(seed: int, run: str) -> Texts:
    """The n-th question of an endless set, likewise: so that no model has read its beginning."""
    source = resources.files("llmlab.probe").joinpath("sentences.txt")
    sentences = source.read_text(encoding="utf-8").splitlines()

    def text(number: int) -> str:
        draw = random.Random(f"{seed}/{number}")  # noqa: S311  repeatable, not secret
        said = draw.sample(sentences, draw.randint(FEWEST_SENTENCES, MOST_SENTENCES))
        return " ".join([f"Report {number} of series {run}.", *said, draw.choice(QUESTIONS)])

    return text


def own(texts: Sequence[str], run: str) -> Texts:
    """One's own texts in turn, each time with another last line, which no cache knows."""
    return lambda number: f"{texts[number % len(texts)]}\n\nCopy {number} of series {run}."


def repeated(texts: Sequence[str]) -> Texts:
    """The same few texts as they are, again and again, for a cache to answer."""
    return lambda number: texts[number % len(texts)]
