"""Encoder-decoders, from a folder like a hub snapshot into another one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmlab.errors import UsageError
from llmlab.evaluate.suite import Case
from llmlab.runtimes.decoding import Decoding, summarization_params, window
from llmlab.tune.examples import Example, Examples
from llmlab.tune.learner import Row, Rows

HERE = {"local_files_only": True, "trust_remote_code": False}


def load(start: Path) -> Seq2Seq:
    """
    Raises:
        UsageError: the model cannot be loaded.
    """
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(start, **HERE)
        model = AutoModelForSeq2SeqLM.from_pretrained(
            start, use_safetensors=True, dtype=torch.float32, **HERE
        )
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"{start} cannot be loaded: {str(error).strip().splitlines()[0]}",
            fix="an encoder-decoder that transformers has itself; code that a model brings along "
            "is never run",
        ) from None
    return Seq2Seq(start, tokenizer, model)


@dataclass(frozen=True)
class Seq2Seq:
    """A ``Learner``."""

    start: Path
    tokenizer: Any
    model: Any
    task: str = "SEQ_2_SEQ_LM"

    @property
    def collator(self) -> Callable[[list[Row]], Any]:
        from transformers import DataCollatorForSeq2Seq

        collator: Callable[[list[Row]], Any] = DataCollatorForSeq2Seq(
            self.tokenizer, model=self.model
        )
        return collator

    def rows(self, *parts: Sequence[Case]) -> list[Rows]:
        task = summarization_params(self.start)
        prefix, size = task.get("prefix", ""), window(self.tokenizer, self.model.config)
        longest = max(Decoding.of(task).max_length, 100)

        def count(text: str) -> int:
            return len(self.tokenizer(prefix + text, verbose=False)["input_ids"])

        def row(example: Example) -> Row:
            read = self.tokenizer(prefix + example.source, truncation=True, max_length=size)
            written = self.tokenizer(
                text_target=example.target, truncation=True, max_length=longest
            )
            return {
                "input_ids": read["input_ids"], "attention_mask": read["attention_mask"],
                "labels": written["input_ids"],
            }  # fmt: skip

        found = [Examples.of(cases, size, count) for cases in parts]
        return [Rows(tuple(map(row, one.all)), one.left_out) for one in found]

    def save(self, trained: Any, target: Path) -> None:
        """As ``Learner.save``: it reads and decodes as the one that it started from."""
        from transformers import AutoTokenizer

        part = target.with_name(f".{target.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(target, ignore_errors=True)
        whole = trained if trained is self.model else trained.merge_and_unload()
        whole.save_pretrained(part)
        # Not the one that was trained with: at what length it last cut a text, it would save too.
        AutoTokenizer.from_pretrained(self.start, local_files_only=True).save_pretrained(part)
        task = json.loads((self.start / "config.json").read_text(encoding="utf-8"))
        file = part / "config.json"
        config = json.loads(file.read_text(encoding="utf-8"))
        if "task_specific_params" in task:
            config["task_specific_params"] = task["task_specific_params"]
        file.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        part.rename(target)
