"""Run as a process by ``convert``: python -m llmlab.models.converter SOURCE TARGET COMPUTE_TYPE

It converts to float32 first and compares that with the original, number by number, so that a
model whose architecture the converter misunderstands is refused instead of served.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import ctranslate2
import torch
from ctranslate2.converters import TransformersConverter

from llmlab.models.convert import REFUSED
from llmlab.models.identity import WEIGHTS
from llmlab.runtimes.ct2 import TOKENIZER, VOCABULARY
from llmlab.runtimes.decoding import Decoding, longest_whole, summarization_params, window
from llmlab.runtimes.recipe import Recipe, not_mapped

# Largest difference of a token's log probability. Rounding makes less than 1e-4; the smallest
# real mistake seen, another epsilon in the layer norms, 1e-2.
TOLERANCE = 2e-3
READ = "A keeper lit the lamp at dusk, as he had on every evening of the last forty years."
WRITTEN = "The lamp of the lighthouse was lit each evening for forty years."


class Refused(Exception):
    """CTranslate2 would not do what transformers does."""


class Converter(TransformersConverter):  # type: ignore[misc]
    """CTranslate2's own converter, told what it does not see under transformers 5.

    The model is loaded once for several conversions. Nothing is fetched, no code of the
    model's is run, and only safetensors are read.
    """

    def __init__(self, source: Path) -> None:
        super().__init__(str(source))
        self.model: Any = None
        self.tokenizer: Any = None

    def load_model(self, model_class: Any, model_name_or_path: str, **how: Any) -> Any:
        if self.model is None:
            how |= {"dtype": torch.float32, "use_safetensors": True, "local_files_only": True}
            self.model = super().load_model(model_class, model_name_or_path, **how).eval()
            _correct(self.model.config)
        return self.model

    def load_tokenizer(self, tokenizer_class: Any, model_name_or_path: str, **how: Any) -> Any:
        if self.tokenizer is None:
            how |= {"use_fast": True, "local_files_only": True}
            self.tokenizer = super().load_tokenizer(tokenizer_class, model_name_or_path, **how)
            self.serialized = self.tokenizer.backend_tokenizer.to_str()
            self._name_every_row()
        return self.tokenizer

    def _load(self) -> Any:
        spec = super()._load()
        # The layer norms of T5 and its like; CTranslate2 takes its own default otherwise.
        spec.config.layer_norm_epsilon = getattr(self.model.config, "layer_norm_epsilon", None)
        return spec

    def _name_every_row(self) -> None:
        """A vocabulary may have fewer tokens than the model has rows. Names made up by
        CTranslate2 could be those of tokens that exist."""
        ids = sorted(self.tokenizer.get_vocab().values())
        if ids != list(range(len(ids))):
            raise Refused("its vocabulary has gaps")
        missing = self.model.config.vocab_size - len(ids)
        self.tokenizer.add_tokens([f"<unused {place}>" for place in range(missing)])


def _correct(config: Any) -> None:
    """transformers 5 says in other words, or not at all, what CTranslate2 4.8 reads."""
    if config.model_type == "t5":
        # T5 1.1 and FLAN do not scale what goes into the last layer. CTranslate2 tells them by
        # `tie_word_embeddings`, which is always True since transformers 5.
        config.tie_word_embeddings = config.scale_decoder_outputs
    elif config.model_type == "mt5":
        config.tie_word_embeddings = False  # never scales
    elif config.model_type == "bart" and not hasattr(config, "normalize_before"):
        config.normalize_before = False  # it is in older config.json only


def convert(source: Path, target: Path, compute_type: str) -> None:
    """Fill ``target`` with the converted model.

    Raises:
        Refused: in words, why this model cannot be run by CTranslate2 as by transformers.
    """
    converter = Converter(source)
    try:
        exact = converter.convert(str(target / "float32"), quantization="float32")
    except (ValueError, NotImplementedError, AttributeError) as error:
        raise Refused(f"it cannot be converted: {error}") from error
    recipe = _recipe(source, converter)
    difference = _difference(Path(exact), converter, recipe)
    if not difference < TOLERANCE:
        raise Refused(f"log probabilities differ by up to {difference:.2g}")
    if compute_type != "float32":
        shutil.rmtree(exact)
        exact = converter.convert(str(target / compute_type), quantization=compute_type)
    for name in (WEIGHTS, "config.json", VOCABULARY):
        (Path(exact) / name).rename(target / name)
    shutil.rmtree(exact)
    (target / TOKENIZER).write_text(converter.serialized, encoding="utf-8")
    recipe.write(target)


def _recipe(source: Path, converter: Converter) -> Recipe:
    model, tokenizer = converter.model, converter.tokenizer
    own = model.generation_config.to_dict()
    task = summarization_params(source)
    decoding = Decoding.of(own, task)
    if problems := list(not_mapped(decoding, own)):
        raise Refused(f"its decoding says {', '.join(problems)}")
    first = own.get("forced_bos_token_id")
    return Recipe(
        prefix=task.get("prefix", ""),
        window=window(tokenizer, model.config),
        longest=longest_whole(model.config),
        decoding=decoding,
        first="" if first is None else tokenizer.convert_ids_to_tokens(first),
        ends=own.get("forced_eos_token_id") is not None,
        clean_up=_cleans_up(tokenizer),
    )


def _cleans_up(tokenizer: Any) -> bool:
    """transformers ignores the wish for BPE, where spaces are part of the tokens."""
    is_bpe = type(tokenizer.backend_tokenizer.model).__name__ == "BPE"
    return bool(tokenizer.clean_up_tokenization_spaces) and not is_bpe


def _difference(converted: Path, converter: Converter, recipe: Recipe) -> float:
    """The largest difference of log P(token | text, tokens before) between the two engines."""
    model, tokenizer = converter.model, converter.tokenizer
    read = tokenizer(recipe.prefix + READ, truncation=True, max_length=recipe.window)["input_ids"]
    written = tokenizer(WRITTEN, add_special_tokens=False)["input_ids"][: recipe.window - 2]
    expected = [*written, model.generation_config.eos_token_id]
    tokens = json.loads((converted / VOCABULARY).read_text(encoding="utf-8"))
    scored = ctranslate2.Translator(str(converted), compute_type="float32").score_batch(
        [[tokens[one] for one in read]], [[tokens[one] for one in written]], max_input_length=0
    )[0]
    start = model.generation_config.decoder_start_token_id
    with torch.inference_mode():
        logits = model(
            input_ids=torch.tensor([read]), decoder_input_ids=torch.tensor([[start, *written]])
        ).logits[0]
    ours = torch.tensor(scored.log_probs)
    theirs = logits.log_softmax(-1)[torch.arange(len(expected)), torch.tensor(expected)]
    return float((ours - theirs).abs().max()) if len(ours) == len(theirs) else float("inf")


def main() -> None:
    source, target, compute_type = sys.argv[1:]
    try:
        convert(Path(source), Path(target), compute_type)
    except Refused as refusal:
        print(json.dumps(str(refusal)), flush=True)
        sys.exit(REFUSED)


if __name__ == "__main__":
    main()
