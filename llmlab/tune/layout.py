"""Where in a GGUF file the weights are that transformers calls otherwise, and how they lie there.

Known are the kinds of models for which that is proved: a test has llama.cpp answer from what was
merged here as transformers does. Anything else is refused before a weight is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psutil import virtual_memory

from llmlab.errors import UsageError
from llmlab.runtimes.cores import memory_limit
from llmlab.runtimes.gguf import metadata

if TYPE_CHECKING:
    import numpy

# By llama.cpp's name of an architecture: whether the rows of its queries and keys lie in the file
# as rotary embeddings pair them there, one beside the other, rather than half a head apart.
PAIRED = {"llama": True, "qwen2": False, "qwen3": False}
FIX = f"a GGUF of one of the architectures {', '.join(PAIRED)}, or an encoder-decoder"
BYTES = 4  # of a weight while it is trained
NEEDED = ("context_length", "block_count", "embedding_length", "feed_forward_length",
          "attention.head_count")  # fmt: skip
OPTIONAL = ("attention.head_count_kv", "attention.key_length")
MOST = 1 << 24  # of any of them; contexts are the longest
END = ("tokenizer.ggml.eot_token_id", "tokenizer.ggml.eos_token_id")


@dataclass(frozen=True)
class Layout:
    """Of one file.

    Args:
        context: tokens that it was made for.
        heads, shared: of the attention, for queries, and for keys and values.
        end: the token with which an answer ends.
        weights: how many there are, the vocabulary's aside.
    """

    architecture: str
    context: int
    layers: int
    heads: int
    shared: int
    end: int
    weights: int

    @classmethod
    def of(cls, file: Path) -> Layout:
        """
        Raises:
            UsageError: such a model cannot be tuned; says why.
            NoGguf: it is none.
        """
        said = metadata(file)
        if problem := _problem(said):
            raise UsageError(f"{file.name} cannot be tuned: {problem}", fix=FIX)
        kind = said["general.architecture"]

        def number(key: str, default: int = 0) -> int:
            return int(said.get(f"{kind}.{key}", default))

        layers, heads = number("block_count"), number("attention.head_count")
        shared, width = number("attention.head_count_kv", heads), number("embedding_length")
        head = number("attention.key_length", width // heads)
        attention = 2 * width * head * (heads + shared)
        forward = 3 * width * number("feed_forward_length")
        end = next(said[name] for name in END if isinstance(said.get(name), int))
        weights = layers * (attention + forward)
        return cls(kind, number("context_length"), layers, heads, shared, end, weights)

    def refuse_too_large(self, file: Path) -> None:
        """
        Raises:
            UsageError: this machine has no memory for the weights as they are trained.
        """
        needed, free = self.weights * BYTES, min(memory_limit(), virtual_memory().available)
        if needed > free:
            raise UsageError(
                f"{file.name} has at least {self.weights / 1e9:.1f} billion weights, which take "
                f"{needed / 1e9:.0f} GB while they are trained, and {free / 1e9:.0f} GB are free",
                fix="a smaller model, or a machine with more memory",
            )

    def names(self, state: Mapping[str, Any]) -> dict[str, str]:
        """{name in the file: name in transformers}, of those that both have.

        Args:
            state: the weights by transformers' names.
        """
        from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

        (architecture,) = (key for key, name in MODEL_ARCH_NAMES.items()
                           if name == self.architecture)  # fmt: skip
        known = get_tensor_name_map(architecture, self.layers)
        found = {}
        for name in state:
            stem, _, ending = name.rpartition(".")
            if there := known.get_name(stem):
                found[f"{there}.{ending}"] = name
        return found

    def laid(self, name: str, matrix: numpy.ndarray) -> numpy.ndarray:
        """A matrix of transformers, its rows in the order in which the file has them.

        Args:
            name: in the file.
        """
        place = name.split(".")[-2]
        if not PAIRED[self.architecture] or place not in ("attn_q", "attn_k"):
            return matrix
        heads = self.heads if place == "attn_q" else self.shared
        halves = matrix.reshape(heads, 2, -1, *matrix.shape[1:])
        return halves.swapaxes(1, 2).reshape(matrix.shape)


def _problem(said: Mapping[str, Any]) -> str:
    """Why a model cannot be tuned; "" if it can."""
    kind = said.get("general.architecture", "")
    if kind not in PAIRED:
        return f"its architecture is {kind or 'not named'}, whose weights nobody here can put back"
    if said.get(f"{kind}.expert_count", 0):
        return "it has experts, and LoRA would pass over them"
    if said.get(f"{kind}.rope.scaling.type", "none") != "none":
        return "it scales positions, which transformers does not read from a GGUF"
    if f"{kind}.pooling_type" in said:
        return "it gives embeddings, and writes nothing"
    for key in (*NEEDED, *(one for one in OPTIONAL if f"{kind}.{one}" in said)):
        number = said.get(f"{kind}.{key}")
        # Of a file that anybody may have made: what is built by it must have an end.
        if not isinstance(number, int) or not 1 <= number <= MOST:
            return (
                f"it does not say its {key}" if number is None else f"its {key} is {number!r:.40}"
            )
    if not any(isinstance(said.get(name), int) for name in END):
        return "it does not say with which token an answer ends"
    return ""
