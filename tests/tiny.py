"""Make a tiny T5 with its own tokenizer: random weights, but all of the real machinery."""

from __future__ import annotations

import json
from pathlib import Path

PARAMS = {
    "early_stopping": True,
    "length_penalty": 2.0,
    "max_length": 200,
    "min_length": 30,
    "no_repeat_ngram_size": 3,
    "num_beams": 4,
    "prefix": "summarize: ",
}


def make_tiny_t5(folder: Path, corpus: str, *, seed: int = 7, window: int = 64) -> Path:
    """Write config, tokenizer and safetensors weights into ``folder``."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from tokenizers.decoders import Metaspace
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=special, unk_token="<unk>")
    tokenizer.train_from_iterator(corpus.splitlines(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        model_max_length=window,
    ).save_pretrained(folder)  # fmt: skip

    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=tokenizer.get_vocab_size(), d_model=32, d_kv=8, d_ff=64, num_layers=2,
        num_heads=4, n_positions=window, pad_token_id=0, eos_token_id=1,
        decoder_start_token_id=0,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    file = folder / "config.json"
    document = json.loads(file.read_text())
    document["task_specific_params"] = {"summarization": PARAMS}
    file.write_text(json.dumps(document, indent=1))
    return folder
