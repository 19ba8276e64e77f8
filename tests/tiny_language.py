"""A language model of some ten thousand weights, as GGUF: llama.cpp runs it, transformers loads it.

It writes nonsense. Its tokens are bytes and the marks of a conversation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType, quantize

WIDTH, HEADS, SHARED, LAYERS, FORWARD = 64, 4, 2, 2, 96
QWEN3_HEAD = 128  # what transformers takes every Qwen3 for
CONTEXT = 512
MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
Q8, Q4, F16 = (GGMLQuantizationType[name] for name in ("Q8_0", "Q4_1", "F16"))


def make_language_model(
    file: Path,
    architecture: str = "llama",
    *,
    seed: int = 1,
    foreign: str = "",
    **more: int | str,
) -> Path:
    """
    Args:
        foreign: the name of one more tensor.
        more: further things that it says of itself, such as ``expert_count``; a dot is "__".
    """
    head = QWEN3_HEAD if architecture == "qwen3" else WIDTH // HEADS
    queries, keys = HEADS * head, SHARED * head
    draw = np.random.default_rng(seed)
    writer = GGUFWriter(file, architecture)
    writer.add_name("Tiny")
    writer.add_context_length(CONTEXT)
    writer.add_block_count(LAYERS)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(SHARED)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    if architecture == "llama":
        writer.add_rope_dimension_count(head)
    if architecture == "qwen3":
        writer.add_key_length(head)
        writer.add_value_length(head)
    for name, value in more.items():
        key = f"{architecture}.{name.replace('__', '.')}"
        (writer.add_string if isinstance(value, str) else writer.add_uint32)(key, value)  # type: ignore[operator]
    tokens = _add_vocabulary(writer)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return (draw.standard_normal((rows, columns)) / columns**0.5).astype(np.float32)

    def add(name: str, values: np.ndarray, kind: GGMLQuantizationType | None = None) -> None:
        data = values if kind is None else quantize(values, kind)
        writer.add_tensor(name, data, raw_dtype=kind)

    def ones(size: int) -> np.ndarray:
        return (1 + 0.1 * draw.standard_normal(size)).astype(np.float32)

    add("token_embd.weight", 4 * matrix(tokens, WIDTH), Q8)
    add("output_norm.weight", ones(WIDTH))
    add("output.weight", 2 * matrix(tokens, WIDTH), Q8)
    for at in range(LAYERS):
        block = f"blk.{at}."
        add(f"{block}attn_norm.weight", ones(WIDTH))
        add(f"{block}ffn_norm.weight", ones(WIDTH))
        add(f"{block}attn_q.weight", 2 * matrix(queries, WIDTH), Q4)
        add(f"{block}attn_k.weight", 2 * matrix(keys, WIDTH), Q8)
        add(f"{block}attn_v.weight", matrix(keys, WIDTH), F16)
        add(f"{block}attn_output.weight", matrix(WIDTH, queries))
        add(f"{block}ffn_gate.weight", matrix(FORWARD, WIDTH), Q4)
        add(f"{block}ffn_up.weight", matrix(FORWARD, WIDTH), Q8)
        add(f"{block}ffn_down.weight", matrix(WIDTH, FORWARD), Q8)
        if architecture == "qwen2":
            for name, size in (("q", queries), ("k", keys), ("v", keys)):
                add(f"{block}attn_{name}.bias", 0.1 * ones(size))
        if architecture == "qwen3":
            add(f"{block}attn_q_norm.weight", ones(head))
            add(f"{block}attn_k_norm.weight", ones(head))
    if foreign:
        add(foreign, ones(head // 2))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add_vocabulary(writer: GGUFWriter) -> int:
    """Bytes as GPT-2 writes them, and the marks. Returns how many there are."""
    tokens = [*_bytes(), "th", *MARKS]
    kinds = [TokenType.NORMAL] * (len(tokens) - len(MARKS)) + [TokenType.CONTROL] * len(MARKS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["t h"])
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_pad_token_id(len(tokens) - 3)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    return len(tokens)


def _bytes() -> list[str]:
    """A letter for each byte: itself if it can be seen, else one above 255."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    unseen = [one for one in range(256) if one not in seen]
    return [chr(one) for one in seen] + [chr(256 + place) for place in range(len(unseen))]
