"""``scratch:tiny``: a T5 of a million weights with a tokenizer of its own, for any machine.

It is trained from nothing, in minutes, on a processor. That is too short to learn to copy, which
is most of what such a summarizer does; so it starts from weights that copy a little, as an
*induction head* does (Olsson et al. 2022): after a token, look in the text for places where that
token stands, and write what follows there. Setting weights so that attention begins with a
useful pattern is known as mimetic initialization (Trockman and Kolter 2023). What is worth
copying, where to begin and where to stop is all learned from the data.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

WINDOW = 160  # tokens that it reads at once
PIECES = 1600  # of the vocabulary: few, so that names are made of pieces it has seen elsewhere
SHAPE = {"d_model": 128, "d_kv": 32, "d_ff": 256, "num_layers": 2, "num_heads": 4}
# As a published summarizer says it in its config.json.
SUMMARIZATION = {
    "prefix": "", "num_beams": 4, "early_stopping": True, "no_repeat_ngram_size": 6,
    "max_length": 100, "min_length": 2,
}  # fmt: skip

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"  # the ids 0, 1, 2

FOCUS = 8.0  # of a head that looks at one distance: 96 % of its attention, within a window
SHARPNESS = 0.4  # of the search for a token: 90 % of the attention for the one that matches
LOUDNESS = 3.0  # what is copied against the token that was written last
QUIET = 0.1  # all else that adds to the stream, until it has learned something


def make_tiny(folder: Path, texts: Iterable[str], *, seed: int) -> None:
    """Write config, tokenizer and weights to a folder, laid out like a hub snapshot.

    Args:
        texts: what the tokenizer learns its pieces from.
    """
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    size = _save_tokenizer(folder, texts)
    torch.manual_seed(seed)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=size, n_positions=WINDOW, dropout_rate=0.1, pad_token_id=0, eos_token_id=1,
            decoder_start_token_id=0, **SHAPE,
        )
    )  # fmt: skip
    _lean_to_copying(model)
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


def _lean_to_copying(model: Any) -> None:
    """Lay an induction head into the weights.

    The encoder's heads 0 and 1 write into each token which tokens stand one and two before it,
    the decoder's head 0 which token it has written before the last. The last cross-attention
    looks for tokens before which the last one written stands (half of its heads), or two before
    which the one before that stands (the other half), and passes on what it finds.
    """
    import torch

    size, width, heads = model.config.d_model, model.config.d_kv, model.config.num_heads

    def turned(rows: int) -> Any:
        """Rows of a random rotation, shape (rows, size)."""
        return torch.linalg.qr(torch.randn(size, size)).Q[:rows]

    def of(head: int) -> slice:
        return slice(head * width, (head + 1) * width)

    with torch.no_grad():
        for block in [*model.encoder.block, *model.decoder.block]:
            block.layer[-1].DenseReluDense.wo.weight.mul_(QUIET)
            for layer in block.layer[:-1]:
                attention = getattr(layer, "SelfAttention", None) or layer.EncDecAttention
                attention.o.weight.mul_(QUIET)

        read, place = [turned(width) for _ in range(2)], [turned(size) for _ in range(3)]

        def look_back(attention: Any, head: int, distance: int, what: Any, where: Any) -> None:
            attention.relative_attention_bias.weight[:, head] = 0
            # For distances below 8, T5's bucket of a token before is the distance.
            attention.relative_attention_bias.weight[distance, head] = FOCUS
            attention.q.weight[of(head)] *= QUIET
            attention.v.weight[of(head)] = what
            attention.o.weight[:, of(head)] = where @ what.T

        first = model.encoder.block[0].layer[0].SelfAttention
        look_back(first, 0, 1, read[0], place[0])
        look_back(first, 1, 2, read[1], place[1])
        look_back(model.decoder.block[0].layer[0].SelfAttention, 0, 1, read[1], place[2])

        copying = model.decoder.block[-1].layer[1].EncDecAttention
        values = turned(size)
        for head in range(heads):
            if head < heads // 2:
                wanted, there = read[0], read[0] @ place[0].T
            else:
                wanted, there = read[1] @ place[2].T, read[1] @ place[1].T
            copying.q.weight[of(head)] = SHARPNESS * wanted
            copying.k.weight[of(head)] = there
            copying.v.weight[of(head)] = values[of(head)]
            copying.o.weight[:, of(head)] = LOUDNESS * values[of(head)].T
