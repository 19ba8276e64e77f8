"""The reference runtime: a T5- or BART-style model run by transformers.

transformers 5 has no summarization pipeline and no longer applies a model's
``task_specific_params``; both are done here, explicitly.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llmlab.runtimes.base import (
    AbandonedAt,
    Encoded,
    Generation,
    Runtime,
    Strategy,
    Summary,
    none_of_them,
)
from llmlab.runtimes.decoding import (
    Decoding,
    longest_whole,
    summarization_params,
    too_long,
    window,
)


class Seq2Seq(Runtime):
    """A sequence-to-sequence model from a folder laid out like a hub snapshot.

    One generation at a time: torch spreads it over the cores by itself.
    """

    def __init__(self, folder: Path, *, max_length: int, min_length: int) -> None:
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()

        self._tokenizer: Any = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        self._tokenizing = threading.Lock()  # truncation is a state of transformers' tokenizers
        self._model: Any = AutoModelForSeq2SeqLM.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, trust_remote_code=False
        ).eval()
        task = summarization_params(folder)
        lab = {"max_length": max_length, "min_length": min_length}
        ends = self._model.generation_config.eos_token_id
        self._ends = set(ends if isinstance(ends, list) else [ends])
        self._prefix: str = task.get("prefix", "")
        self._decoding = Decoding.of(self._model.generation_config.to_dict(), task, lab)
        self._window = window(self._tokenizer, self._model.config)
        self._longest = longest_whole(self._model.config)

    def encode(self, text: str, generation: Generation) -> Encoded:
        ids = self._ids(self._prefix + text, truncation=False)
        whole = len(ids)
        if generation.strategy is Strategy.TRUNCATE and whole > self._window:
            ids = self._ids(self._prefix + text, truncation=True, max_length=self._window)
        elif whole > self._longest:
            raise too_long(whole, self._longest)
        decoding = self._decoding.within(generation)
        return Encoded(ids, len(ids), whole, self._window, decoding, decoding.room)

    def generate(
        self, batch: Sequence[Encoded], abandoned: AbandonedAt = none_of_them
    ) -> list[Summary]:
        return [
            Summary(
                text=self._tokenizer.decode(ids, skip_special_tokens=True).strip(),
                input_tokens=one.tokens,
                output_tokens=len(ids),
                truncated=one.truncated,
            )
            for one, ids in zip(batch, self._written(batch, abandoned), strict=True)
        ]

    def _written(self, batch: Sequence[Encoded], abandoned: AbandonedAt) -> list[list[int]]:
        """What the model writes: token ids from the start token to the end token."""
        import torch

        decoding = batch[0].key
        assert isinstance(decoding, Decoding)
        with torch.inference_mode():
            rows = self._model.generate(
                **self._padded(batch),
                stopping_criteria=[_Abandoned(abandoned, len(batch))],
                do_sample=False,
                **asdict(decoding),
            ).tolist()
        return [_up_to_the_end(row, self._ends) for row in rows]

    def _ids(self, text: str, **truncation: Any) -> list[int]:
        with self._tokenizing:
            ids: list[int] = self._tokenizer(text, verbose=False, **truncation)["input_ids"]
        return ids

    def _padded(self, batch: Sequence[Encoded]) -> dict[str, Any]:
        """``input_ids`` and ``attention_mask``, each of shape (texts, tokens of the longest)."""
        import torch

        longest = max(one.tokens for one in batch)
        ids = torch.full((len(batch), longest), self._tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, one in enumerate(batch):
            ids[row, : one.tokens] = torch.tensor(one.content)
            mask[row, : one.tokens] = 1
        return {"input_ids": ids, "attention_mask": mask}


def _up_to_the_end(ids: list[int], ends: set[int]) -> list[int]:
    """Cut what fills a row up to the longest. The first token is the start token, which for
    BART is the end token too."""
    for place, token in enumerate(ids[1:], 1):
        if token in ends:
            return ids[: place + 1]
    return ids


class _Abandoned:
    """A stopping criterion: nobody waits for the summary any more.

    ``generate()`` asks with one row for each beam of each text, or a multiple of that.
    """

    def __init__(self, abandoned: AbandonedAt, texts: int) -> None:
        self._abandoned = abandoned
        self._texts = texts

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        import torch

        each = torch.tensor([self._abandoned(place) for place in range(self._texts)])
        return each.repeat_interleave(input_ids.shape[0] // self._texts).to(input_ids.device)
