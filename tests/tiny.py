"""Make models with random weights and their own tokenizers: all of the real machinery."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

PARAMS = {
    "early_stopping": True,
    "length_penalty": 2.0,
    "max_length": 200,
    "min_length": 30,
    "no_repeat_ngram_size": 3,
    "num_beams": 4,
    "prefix": "summarize: ",
}


def make_tiny_t5(
    folder: Path, corpus: str, *, seed: int = 7, window: int = 64, **config: Any
) -> Path:
    """A T5 of some 100 kB: config, tokenizer and safetensors weights in ``folder``.

    It likes to repeat itself, so that what forbids repetitions has much to do.
    """
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    rows = _save_tokenizer(folder, corpus, window)
    torch.manual_seed(seed)
    shape = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4} | config
    settings = T5Config(
        vocab_size=rows, n_positions=window, pad_token_id=0, eos_token_id=1,
        decoder_start_token_id=0, **shape,
    )  # fmt: skip
    T5ForConditionalGeneration(settings).save_pretrained(folder)
    return with_config(folder, task_specific_params={"summarization": PARAMS})


def make_small_t5(folder: Path, corpus: str, *, seed: int = 3) -> Path:
    """A model in the shape of T5-small (60.5 M parameters, 242 MB).

    Weights as T5 starts with make a decoder that repeats its last token for ever. Here the
    layers outweigh the embeddings, the mean of the feed-forward layers' activations is taken
    out, and the attention and the output are sharper: so what it writes depends on the text,
    seldom repeats itself, and ends after a varying number of tokens.
    """
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    _save_tokenizer(folder, corpus, 512, pieces=32_000)
    torch.manual_seed(seed)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=32_128, d_model=512, d_kv=64, d_ff=2048, num_layers=6, num_heads=8,
            n_positions=512, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
        )
    )  # fmt: skip
    with torch.no_grad():
        model.shared.weight.mul_(0.1)
        model.shared.weight[0] = 0  # the start token is not written again
        model.shared.weight[1].mul_(4)  # the end token stands out
        for block in [*model.encoder.block, *model.decoder.block]:
            last = block.layer[-1].DenseReluDense.wo.weight
            last.sub_(last.mean(1, keepdim=True)).mul_(1.5)
            block.layer[0].SelfAttention.q.weight.mul_(3)
        for block in model.decoder.block:
            block.layer[1].EncDecAttention.q.weight.mul_(3)
        model.decoder.final_layer_norm.weight.fill_(30)
    model.save_pretrained(folder)
    return with_config(folder, task_specific_params={"summarization": PARAMS})


def make_tiny_bart(folder: Path, corpus: str, *, seed: int = 7, window: int = 64) -> Path:
    """A BART of some 100 kB: positions from a table, first and last token forced."""
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    rows = _save_tokenizer(folder, corpus, window)
    torch.manual_seed(seed)
    settings = BartConfig(
        vocab_size=rows, d_model=32, encoder_layers=2, decoder_layers=2, init_std=0.4,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64,
        decoder_ffn_dim=64, max_position_embeddings=window, pad_token_id=0, eos_token_id=1,
        bos_token_id=3, decoder_start_token_id=1, forced_eos_token_id=1,
    )  # fmt: skip
    model = BartForConditionalGeneration(settings)
    model.generation_config.forced_bos_token_id = 3
    model.save_pretrained(folder)
    return with_config(folder, task_specific_params={"summarization": PARAMS})


def with_config(folder: Path, **values: Any) -> Path:
    """Set values in a model's config.json."""
    file = folder / "config.json"
    document = json.loads(file.read_text()) | values
    file.write_text(json.dumps(document, indent=1))
    return folder


def _pieces(corpus: str) -> list[tuple[str, float]]:
    """The characters and the 350 most frequent words of a text, with their log probabilities.
    They are the same each time, which those that a trainer finds are not."""
    counts = Counter(f"▁{word}" for word in corpus.split())
    common = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:350]
    letters = Counter("".join(f"▁{word}" for word in corpus.split()))
    found = dict(sorted(letters.items())) | dict(common)
    total = sum(found.values())
    return [(piece, math.log(count / total)) for piece, count in found.items()]


def _save_tokenizer(folder: Path, corpus: str, window: int, *, pieces: int = 0) -> int:
    """Train a tokenizer on a text; with ``pieces``, choose the text's own by a rule, and fill them
    up to so many with words of no use.

    Returns:
        The number of its tokens.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from tokenizers.decoders import Metaspace
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>", "<s>"]
    trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=special, unk_token="<unk>")
    tokenizer.train_from_iterator(corpus.splitlines(), trainer)
    if pieces:
        known = [(piece, 0.0) for piece in special] + _pieces(corpus)
        fill = [(f"▁word{n}", -99.0) for n in range(pieces - len(known))]
        tokenizer.model = models.Unigram(known + fill, unk_id=2)
    tokenizer.decoder = Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        bos_token="<s>", model_max_length=window,
    ).save_pretrained(folder)  # fmt: skip
    return tokenizer.get_vocab_size()
