"""How the peers read a text and write a summary: with transformers, or with CTranslate2.

Both answer with what they read and wrote beside the summary, so that the load generator can
check that everybody did the same work.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Options:
    """What every server is told on its command line. ``length`` as ``generate()`` counts."""

    folder: Path
    port: int
    length: int
    replicas: int
    threads: int

    @classmethod
    def parse(cls, description: str) -> Options:
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("folder", type=Path)
        for name in ("port", "length", "replicas", "threads"):
            parser.add_argument(f"--{name}", type=int, required=True)
        return cls(**vars(parser.parse_args()))


class Generate:
    """``generate()`` of transformers, as the reference lab calls it, on a batch."""

    def __init__(self, folder: Path, threads: int) -> None:
        import torch
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        torch.set_num_threads(threads)
        self._torch = torch
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._model: Any = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
        self._task = dict(self._model.config.task_specific_params["summarization"])
        self._prefix = self._task.pop("prefix", "")

    def __call__(self, texts: list[str]) -> list[dict[str, Any]]:
        prefixed = [self._prefix + text for text in texts]
        inputs = self._tokenizer(prefixed, return_tensors="pt", padding=True, truncation=True)
        with self._torch.inference_mode():
            written = self._model.generate(**inputs, do_sample=False, **self._task)
        return [
            _answer(self._tokenizer.decode(ids, skip_special_tokens=True), int(read), len(ids))
            for ids, read in zip(written, inputs["attention_mask"].sum(1), strict=True)
        ]


class Fast:
    """CTranslate2 by llmlab's own runtime, with its setting for freed memory, which is worth a
    third: so the peers differ from it by nothing but what is around the engine."""

    def __init__(self, folder: Path, length: int, replicas: int, threads: int) -> None:
        from llmlab.config import Model
        from llmlab.models.loading import load
        from llmlab.runtimes import Generation
        from llmlab.runtimes.memory import keep_freed_memory

        keep_freed_memory()
        model = Model(
            runtime="ctranslate2", source="path:source", max_length=length, min_length=length
        )
        self._runtime, _ = load(model, folder, replicas=replicas, threads=threads)
        self._whole = Generation()

    def __call__(self, texts: list[str]) -> list[dict[str, Any]]:
        batch = [self._runtime.encode(text, self._whole) for text in texts]
        return [
            _answer(one.text, one.input_tokens, one.output_tokens)
            for one in self._runtime.generate(batch)
        ]


def _answer(summary: str, read: int, written: int) -> dict[str, Any]:
    return {"summary": summary, "usage": {"input_tokens": read, "output_tokens": written}}
