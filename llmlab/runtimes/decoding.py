"""How a sequence-to-sequence model decodes: one set of parameters for every runtime.

From weak to strong: the model's ``generation_config.json``, its
``task_specific_params.summarization``, the lab's ``max_length``/``min_length``, the
request's. Names, defaults and the way lengths are counted are those of transformers'
``generate()``: lengths include the decoder's start token.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from llmlab.runtimes.base import Generation, TextTooLong

# Attention over n tokens needs memory in n²; 4,096 is about 0.5 GB for a T5-small.
FULL_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Decoding:
    """The parameters of ``generate()`` that decide what is written. Never sampling."""

    num_beams: int = 1
    no_repeat_ngram_size: int = 0
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    repetition_penalty: float = 1.0
    max_length: int = 20
    min_length: int = 0

    @classmethod
    def of(cls, *layers: Mapping[str, Any]) -> Decoding:
        """Merge layers of parameters, weak ones first; None and foreign names set nothing."""
        names = {field.name for field in fields(cls)}
        merged: dict[str, Any] = {}
        for layer in layers:
            merged |= {k: v for k, v in layer.items() if k in names and v is not None}
        return cls(**merged)

    @property
    def room(self) -> int:
        """Tokens of the longest summary, in all beams."""
        return self.max_length * self.num_beams

    def within(self, generation: Generation) -> Decoding:
        """These parameters with the limits of one request."""
        longest = self.max_length if generation.max_length is None else generation.max_length
        shortest = self.min_length if generation.min_length is None else generation.min_length
        longest = max(longest, 2)  # generate() refuses 1: the start token is all of it
        return replace(self, max_length=longest, min_length=min(shortest, longest))


def summarization_params(folder: Path) -> dict[str, Any]:
    """The block ``task_specific_params.summarization`` of a model's config.json."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return (config.get("task_specific_params") or {}).get("summarization") or {}


def window(tokenizer: Any, config: Any) -> int:
    """How many input tokens a model was made for: 512 for T5, 1024 for BART.

    Args:
        tokenizer, config: of transformers.
    """
    # A tokenizer that knows no limit says int(1e30).
    limits = [tokenizer.model_max_length]
    limits += [getattr(config, name, None) for name in ("n_positions", "max_position_embeddings")]
    return min(limit for limit in limits if isinstance(limit, int) and 0 < limit <= 1_000_000)


def longest_whole(config: Any) -> int:
    """How many tokens ``Strategy.FULL`` reads at once: T5's positions are relative, so as many
    as the memory takes; BART's end with its table of positions."""
    return min(FULL_LIMIT, getattr(config, "max_position_embeddings", None) or FULL_LIMIT)


def too_long(tokens: int, limit: int) -> TextTooLong:
    return TextTooLong(
        f"the text has {tokens} tokens; strategy=full reads at most {limit} at once",
        fix='ask with "strategy": "truncate"',
    )
