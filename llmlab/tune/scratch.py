"""``scratch:tiny``: a T5 of a million weights with a tokenizer of its own, for any machine.

It is trained from nothing, in minutes, on a processor. That is too short to learn to copy, which
is most of what such a summarizer does; so it starts from weights that copy, as an *induction
head* does (Olsson et al. 2022): find in the text the place before which the last four tokens
stand that were written, and write what follows there. Setting weights so that attention begins
with a useful pattern is known as mimetic initialization (Trockman and Kolter 2023). What is worth
copying, where to begin and where to stop is all learned from the data.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

WINDOW = 192  # tokens that it reads at once
PIECES = 1600  # of the vocabulary: few, so that names are made of pieces it has seen elsewhere
SHAPE = {
    "d_model": 128, "d_kv": 68, "d_ff": 256, "num_heads": 4, "num_layers": 3,
    "num_decoder_layers": 1,
}  # fmt: skip
# As a published summarizer says it in its config.json.
SUMMARIZATION = {
    "prefix": "", "num_beams": 4, "early_stopping": True, "no_repeat_ngram_size": 8,
    "max_length": 100, "min_length": 2,
}  # fmt: skip

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"  # the ids 0, 1, 2

# Of the d_model dimensions of the stream: first the token itself, then the one before it, and
# so on to the fourth; together d_model and, without the first, d_kv.
TOKEN, BEFORE = 60, (20, 16, 16, 16)
FOCUS = 10.0  # of a head that looks at one distance: nearly all of its attention
SHARPNESS = 8.0  # of the search: what each of the four tokens adds where it is the right one
LOUDNESS = 4.0  # what is copied against the token that was written last
QUIET = 0.1  # all else that adds to the stream, until it has learned something
LEAN = 2.0  # of one free head to what follows, of another to what went before


def make_tiny(folder: Path, texts: Iterable[str], *, seed: int) -> None:
    """Write config, tokenizer and weights to a folder, laid out like a hub snapshot.

    Args:
        texts: what the tokenizer learns its pieces from.
    """
    import torch
    from transformers import T5Config, T5ForConditionalGeneration
    from transformers.utils import logging

    logging.disable_progress_bar()  # of the writing of a few MB
    size = _save_tokenizer(folder, texts)
    # As in training: more threads add in another order, and the weights come out different.
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=size, n_positions=WINDOW, pad_token_id=0, eos_token_id=1,
            decoder_start_token_id=0, dropout_rate=0.0,  # it sees a text only a few times
            **SHAPE,
        )
    )  # fmt: skip
    _lay_copying(model)
    model.save_pretrained(folder)
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["task_specific_params"] = {"summarization": SUMMARIZATION}
    file.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def _save_tokenizer(folder: Path, texts: Iterable[str]) -> int:
    """Frequent words and pieces of words (byte-level BPE); in the worst case, single bytes.

    Returns:
        How many there are.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES, special_tokens=[PAD, END, UNKNOWN], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, unk_token=UNKNOWN,
        model_max_length=WINDOW, clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)  # fmt: skip
    return int(tokenizer.get_vocab_size())


def _lay_copying(model: Any) -> None:
    """Lay an induction head into the weights.

    Encoder and decoder write beside each token the four, or three, that stand before it. The
    cross-attention's head 0 compares: the token written last with the one before each place of
    the text, the token before that with the second before the place, and so on. It is one sum
    under one softmax, so the place with the longest common past wins. It passes on the token
    that stands there.

    The encoder has two heads for it, of which one looks at the token before and the other at the
    second before, and two layers: the second layer fetches what the first has put there, which
    makes the third and the fourth.
    """
    import torch

    with torch.no_grad():
        for block in [*model.encoder.block, *model.decoder.block]:
            block.layer[-1].DenseReluDense.wo.weight.mul_(QUIET)
            for layer in block.layer[:-1]:
                attention = getattr(layer, "SelfAttention", None) or layer.EncDecAttention
                attention.o.weight.mul_(QUIET)
        size = model.config.d_model
        token, before = _places(size)
        embeddings = model.shared.weight
        embeddings[:, :TOKEN] *= (size / TOKEN) ** 0.5
        embeddings[:, TOKEN:] *= QUIET
        # What a place holds of a token: it has fewer dimensions than the token itself.
        short = torch.linalg.qr(torch.randn(TOKEN, TOKEN)).Q[: BEFORE[0]] @ token
        as_loud = (TOKEN / size) ** 0.5  # as the token that it is a copy of, after the norm

        first, second = (model.encoder.block[at].layer[0].SelfAttention for at in (0, 1))
        bias = first.relative_attention_bias.weight  # of all layers: T5 has one
        _look_back(bias, 0, 1)
        _look_back(bias, 1, 2)
        bias[17:28, 2] += LEAN  # the buckets of what follows, but for the furthest
        bias[1:12, 3] += LEAN
        _move(first, 0, [(short, before[0])], as_loud)
        _move(first, 1, [(short[: BEFORE[1]], before[1])], as_loud)
        louder = (1 + (BEFORE[0] + BEFORE[1]) / size) ** 0.5
        moved = [(before[0][: BEFORE[2]], before[2]), (before[1][: BEFORE[3]], before[3])]
        _move(second, 1, moved, louder)

        written = model.decoder.block[0].layer[0].SelfAttention
        for head in range(3):
            _look_back(written.relative_attention_bias.weight, head, head + 1)
            there = before[head + 1]
            _move(written, head, [(short[: len(there)], there)], as_loud)

        copying, width = model.decoder.block[-1].layer[1].EncDecAttention, model.config.d_kv
        wanted = [short, *before[1:]]
        copying.q.weight[:width] = torch.cat([SHARPNESS / len(one) * one for one in wanted])
        copying.k.weight[:width] = torch.cat(before)
        copying.v.weight[:TOKEN] = token
        copying.v.weight[TOKEN:width] = 0
        copying.o.weight[:, :TOKEN] = LOUDNESS * token.T
        copying.o.weight[:, TOKEN:width] = 0


def _places(size: int) -> tuple[Any, list[Any]]:
    """Where in the stream a token is, and those before it: rows of the unit matrix."""
    import torch

    token, *before = torch.eye(size).split([TOKEN, *BEFORE])
    return token, before


def _look_back(bias: Any, head: int, distance: int) -> None:
    """For distances below 8, T5's bucket of a token before is the distance."""
    bias[:, head] = 0
    bias[distance, head] = FOCUS


def _move(attention: Any, head: int, moves: list[tuple[Any, Any]], gain: float) -> None:
    """Let a head do nothing but read some directions where it looks, and write them to others.

    Args:
        moves: from where to where, each of shape (directions, size).
    """
    import torch

    width = attention.key_value_proj_dim
    own = slice(head * width, (head + 1) * width)
    read, there = (torch.cat(parts) for parts in zip(*moves, strict=True))
    attention.q.weight[own] *= QUIET
    attention.v.weight[own] *= QUIET
    attention.v.weight[own][: len(read)] = read
    attention.o.weight[:, own] = 0
    attention.o.weight[:, own][:, : len(there)] = gain * there.T
