"""The reference runtime: a T5- or BART-style model run by transformers.

transformers 5 has no summarization pipeline and no longer applies a model's
``task_specific_params``; both are done here, explicitly.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llmlab.runtimes.base import Abandoned, Generation, Strategy, Summary, TextTooLong, never

# Attention over n tokens needs memory in n²; 4,096 is about 0.5 GB for a T5-small.
FULL_LIMIT = 4096
# The decoding parameters of `task_specific_params.summarization` that generate() takes.
DECODING = (
    "num_beams", "no_repeat_ngram_size", "length_penalty", "early_stopping",
    "repetition_penalty", "max_length", "min_length",
)  # fmt: skip


class Seq2Seq:
    """A sequence-to-sequence model from a folder laid out like a hub snapshot.

    Decoding, from weak to strong: the model's ``task_specific_params.summarization``,
    the lab's ``max_length``/``min_length``, the request's. Lengths count tokens the
    way ``generate()`` does, the decoder's start token included.
    """

    def __init__(self, folder: Path, *, max_length: int, min_length: int) -> None:
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()

        self._tokenizer: Any = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        self._model: Any = AutoModelForSeq2SeqLM.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, trust_remote_code=False
        ).eval()
        task = summarization_params(folder)
        self._prefix: str = task.get("prefix", "")
        self._decoding = {name: task[name] for name in DECODING if name in task}
        self._decoding |= {"max_length": max_length, "min_length": min_length, "do_sample": False}
        self._window = _window(self._tokenizer, self._model.config)

    def summarize(self, text: str, generation: Generation, abandoned: Abandoned = never) -> Summary:
        import torch

        tokens = self._tokenizer(
            self._prefix + text, return_tensors="pt", truncation=False, verbose=False
        )
        length = int(tokens["input_ids"].shape[1])
        truncated = generation.strategy is Strategy.TRUNCATE and length > self._window
        if truncated:
            tokens = self._tokenizer(
                self._prefix + text, return_tensors="pt", truncation=True, max_length=self._window
            )
        elif length > FULL_LIMIT:
            raise TextTooLong(
                f"the text has {length} tokens; strategy=full reads at most {FULL_LIMIT} at once",
                fix='ask with "strategy": "truncate"',
            )
        with torch.inference_mode():
            output = self._model.generate(
                input_ids=tokens["input_ids"],
                attention_mask=tokens["attention_mask"],
                stopping_criteria=[_Abandoned(abandoned)],
                **self.decoding(generation),
            )[0]
        return Summary(
            text=self._tokenizer.decode(output, skip_special_tokens=True).strip(),
            input_tokens=int(tokens["input_ids"].shape[1]),
            output_tokens=int(output.shape[0]),
            truncated=truncated,
        )

    def decoding(self, generation: Generation) -> dict[str, Any]:
        """The keyword arguments of ``generate()`` for one request."""
        asked = {"max_length": generation.max_length, "min_length": generation.min_length}
        merged = self._decoding | {
            name: value for name, value in asked.items() if value is not None
        }
        # generate() refuses a length of 1: the start token is all of it.
        merged["max_length"] = max(merged["max_length"], 2)
        merged["min_length"] = min(merged["min_length"], merged["max_length"])
        return merged


def summarization_params(folder: Path) -> dict[str, Any]:
    """The block ``task_specific_params.summarization`` of a model's config.json."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return (config.get("task_specific_params") or {}).get("summarization") or {}


def _window(tokenizer: Any, config: Any) -> int:
    """How many input tokens the model was made for: 512 for T5, 1024 for BART."""
    # A tokenizer that knows no limit says int(1e30).
    limits = [tokenizer.model_max_length]
    limits += [getattr(config, name, None) for name in ("n_positions", "max_position_embeddings")]
    return min(limit for limit in limits if isinstance(limit, int) and 0 < limit <= 1_000_000)


class _Abandoned:
    """A stopping criterion: nobody waits for the summary any more."""

    def __init__(self, abandoned: Abandoned) -> None:
        self._abandoned = abandoned

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        import torch

        return torch.full((input_ids.shape[0],), self._abandoned(), device=input_ids.device)
