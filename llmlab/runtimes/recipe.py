"""What a converted model needs beside its weights, so that it writes as the original does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmlab.runtimes.decoding import Decoding

RECIPE = "summarization.json"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Written at conversion, read by the runtime.

    Args:
        prefix: goes before every text.
        window, longest: in tokens, for the strategies truncate and full.
        decoding: the model's own parameters.
        first: the token that every summary starts with; "" for none.
        ends: whether a summary that reaches ``max_length`` is closed with the end token.
        clean_up: whether spaces before punctuation are taken out of what it writes.
    """

    prefix: str
    window: int
    longest: int
    decoding: Decoding
    first: str = ""
    ends: bool = False
    clean_up: bool = False

    def write(self, folder: Path) -> None:
        (folder / RECIPE).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Recipe:
        document = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
        return cls(**document | {"decoding": Decoding(**document["decoding"])})


# What a generation_config.json may say without any effect on beam or greedy search, and what
# is mapped by Decoding and Recipe.
_KNOWN = {
    "num_beams", "no_repeat_ngram_size", "length_penalty", "early_stopping",
    "repetition_penalty", "max_length", "min_length", "renormalize_logits",
    "pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id",
    "forced_bos_token_id", "forced_eos_token_id",
    "do_sample", "temperature", "top_k", "top_p", "typical_p", "min_p",
    "use_cache", "cache_implementation", "output_attentions", "output_hidden_states",
    "output_scores", "output_logits", "return_dict_in_generate",
    "transformers_version", "_from_model_config",
}  # fmt: skip
# Values that mean "off", as older versions of transformers wrote them out.
_OFF: dict[str, Any] = {
    "num_beam_groups": 1, "num_return_sequences": 1, "diversity_penalty": 0.0,
    "encoder_repetition_penalty": 1.0, "encoder_no_repeat_ngram_size": 0,
    "epsilon_cutoff": 0.0, "eta_cutoff": 0.0, "remove_invalid_values": False,
}  # fmt: skip


def not_mapped(decoding: Decoding, own: Mapping[str, Any]) -> Iterator[str]:
    """What of a model's decoding CTranslate2 cannot do as ``generate()`` does, in words.

    Args:
        decoding: the model's merged parameters.
        own: its ``generation_config``.
    """
    if decoding.num_beams > 1 and decoding.early_stopping is not True:
        yield f"{decoding.num_beams} beams with early_stopping={decoding.early_stopping}"
    if decoding.num_beams > 1 and decoding.repetition_penalty != 1:
        yield f"{decoding.num_beams} beams with repetition_penalty={decoding.repetition_penalty}"
    ends = own.get("eos_token_id")
    if not isinstance(ends, int):
        yield f"eos_token_id={ends}"
    if own.get("forced_eos_token_id") not in (None, ends):
        yield f"forced_eos_token_id={own['forced_eos_token_id']}"
    for name, value in own.items():
        if name not in _KNOWN and value is not None and value != _OFF.get(name):
            yield f"{name}={value}"
