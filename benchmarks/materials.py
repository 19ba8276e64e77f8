"""What every system is given: the same weights, decoding and texts.

The model has the shape of T5-small and random weights from a fixed seed: what it writes makes
no sense, but costs what T5-small costs. Its vocabulary is 32,100 words made of syllables.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.shapes import DECODINGS, Shape
from llmlab.config import Model
from llmlab.models import content_id
from llmlab.models.convert import convert
from llmlab.models.identity import model_files

SEED = 20
PREFIX = "summarize: "
SPECIAL = ("<pad>", "</s>", "<unk>")
MARKS = "▁Ġ"  # how tokenizers write the space before a word


@dataclass(frozen=True)
class Material:
    """One model with one decoding.

    Args:
        source: a folder laid out like a hub snapshot, for transformers.
        converted: the same, converted to int8, for CTranslate2.
        words: a file of words, one a line, each of which is one token.
    """

    decoding: str
    source: Path
    converted: Path
    words: Path
    words_of_a_text: int


def model_of(shape: Shape) -> Model:
    """As in lab.toml: every summary has exactly the length of the shape."""
    return Model(
        runtime="ctranslate2", source="path:source",
        max_length=shape.longest, min_length=shape.longest,
    )  # fmt: skip


def prepare(work: Path, shape: Shape, checkpoint: Path | None, decoding: str) -> Material:
    """Make what is not there yet.

    Args:
        checkpoint: a real model's folder; None for one made here.
    """
    name = f"{checkpoint.name}-{content_id(checkpoint)[:8]}" if checkpoint else shape.name
    original = checkpoint or work / name / "original"
    if not original.exists():
        _make_model(original, shape)
    source = work / name / decoding
    if not source.exists():
        _with_decoding(original, source, shape, decoding)
    os.environ["LLMLAB_HOME"] = str(work / "home")
    converted = convert(name, source, content_id(source), "int8", lambda _: None)
    words = work / name / "words.txt"
    if not words.exists():
        words.write_text("\n".join(_words_of(converted)), encoding="utf-8")
    return Material(decoding, source, converted, words, _words_of_a_text(converted, words, shape))


def text(words: list[str], length: int, number: int) -> str:
    """The text with this number: always the same, and no two alike."""
    draw = random.Random(number)  # noqa: S311  repeatable, not secret
    return " ".join(draw.choices(words, k=length))


# --- the model -------------------------------------------------------------------


def _make_model(folder: Path, shape: Shape) -> None:
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    partial = folder.with_name("partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _make_tokenizer(partial, shape)
    torch.manual_seed(SEED)
    T5ForConditionalGeneration(
        T5Config(
            vocab_size=shape.rows, d_model=shape.width, d_kv=shape.width // 8, num_heads=8,
            d_ff=4 * shape.width, num_layers=shape.layers, n_positions=shape.read,
            pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
        )
    ).save_pretrained(partial)  # fmt: skip
    partial.rename(folder)


def _make_tokenizer(folder: Path, shape: Shape) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from tokenizers.decoders import Metaspace
    from transformers import PreTrainedTokenizerFast

    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    made = ("".join(parts) for parts in itertools.product(syllables, repeat=3))
    count = shape.rows - 28 - len(SPECIAL) - 1  # T5's vocabulary is 28 smaller than its table
    pieces = [(one, 0.0) for one in SPECIAL] + [("▁" + PREFIX.strip(), -1.0)]
    pieces += [("▁" + word, -10.0) for word in itertools.islice(made, count)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",  # noqa: S106
        model_max_length=shape.read,
    ).save_pretrained(folder)  # fmt: skip


def _with_decoding(original: Path, folder: Path, shape: Shape, decoding: str) -> None:
    """The same files with another decoding in config.json; the weights are not copied."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for file in model_files(original):
        try:
            os.link(file.resolve(), partial / file.name)
        except OSError:  # another file system
            shutil.copy(file, partial / file.name)
    config = json.loads((original / "config.json").read_text(encoding="utf-8"))
    task = config.get("task_specific_params") or {}
    prefix = task.get("summarization", {}).get("prefix", PREFIX)
    length = {"max_length": shape.longest, "min_length": shape.longest}
    summarization = {"prefix": prefix, **DECODINGS[decoding], **length}
    config["task_specific_params"] = {"summarization": summarization}
    (partial / "config.json").unlink()
    (partial / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    partial.rename(folder)


# --- texts -----------------------------------------------------------------------


def _words_of(converted: Path) -> list[str]:
    """The words of a vocabulary that are one token each, wherever they stand in a text."""
    tokenizer: Any = _tokenizer(converted)
    pieces = sorted(one for one in tokenizer.get_vocab() if one[0] in MARKS and one[1:].isalpha())
    words = [one[1:] for one in pieces if len(one) > 3 and one.isascii() is (one[0] == "Ġ")]
    words = words or [one[1:] for one in pieces]
    found = tokenizer.encode_batch(["a " + word for word in words], add_special_tokens=False)
    before = len(tokenizer.encode("a", add_special_tokens=False))
    return [word for word, one in zip(words, found, strict=True) if len(one) == before + 1]


def _words_of_a_text(converted: Path, words: Path, shape: Shape) -> int:
    """How many words make a text of exactly as many tokens as the shape says."""
    from llmlab.models.loading import load
    from llmlab.runtimes import Generation

    known = words.read_text(encoding="utf-8").split()
    runtime, _ = load(model_of(shape), converted, replicas=1)

    def tokens(count: int) -> int:
        return runtime.encode(text(known, count, 0), Generation()).whole

    count = shape.read - (tokens(100) - 100)
    if tokens(count) != shape.read:
        raise SystemExit(f"no text of exactly {shape.read} tokens can be made for this model")
    return count


def _tokenizer(converted: Path) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(converted / "tokenizer.json"))
