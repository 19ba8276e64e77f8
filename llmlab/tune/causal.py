"""Language models as GGUF: LoRA beside weights that transformers reads, merged into a new file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from llmlab.config import Model
from llmlab.errors import UsageError
from llmlab.evaluate.suite import Case
from llmlab.runtimes import llamacpp
from llmlab.runtimes.prompt import Prompt
from llmlab.runtimes.prompted import Prompted
from llmlab.tune.chats import UNJUDGED, Reading
from llmlab.tune.layout import FIX, Layout
from llmlab.tune.learner import FILE, Row, Rows
from llmlab.tune.merging import merge

# Tokens of an example, at most. What a step takes of memory grows with it: with a vocabulary of
# 50,000, a batch of four such examples has 1.6 GB of logits.
LONGEST = 2048
AROUND = "base_model.model."  # PEFT's names begin so


@dataclass(frozen=True)
class Asked:
    """How the model is asked where it serves.

    Args:
        llama_server: the native server to run; see ``llamacpp.start``.
    """

    model: Model
    prompt: str
    llama_server: str


def load(file: Path, asked: Asked) -> Causal:
    """
    Raises:
        UsageError: transformers cannot load it, or has other weights than the file.
    """
    import torch
    from transformers import AutoModelForCausalLM, modeling_gguf_pytorch_utils

    # Its own bar, on top of ours; there is no switch for it.
    modeling_gguf_pytorch_utils.tqdm = partial(modeling_gguf_pytorch_utils.tqdm, disable=True)
    layout = Layout.of(file)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            file.parent,
            gguf_file=file.name,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        raise UsageError(
            f"{file.name} cannot be loaded: {str(error).strip().splitlines()[0]}", fix=FIX
        ) from None
    # Its weights are dense by now; the mark is of the file, and would forbid to train them.
    model.is_quantized = False
    model.name_or_path = ""  # or PEFT looks for its config.json at each checkpoint, on a hub too
    model.config.use_cache = False  # of keys and values: training looks at each text once
    found = Causal(file, layout, asked, model, layout.names(model.state_dict()))
    found.refuse_other_weights()
    return found


@dataclass(frozen=True)
class Causal:
    """A ``Learner``.

    Args:
        names: {of a weight in the file: in transformers, before PEFT puts anything around it}.
    """

    file: Path
    layout: Layout
    asked: Asked
    model: Any
    names: Mapping[str, str]
    task: str = "CAUSAL_LM"

    @property
    def collator(self) -> Callable[[list[Row]], Any]:
        return batch

    def rows(self, *parts: Sequence[Case]) -> list[Rows]:
        served = self.asked.model
        context = min(LONGEST, self.layout.context, served.context or LONGEST)
        server = llamacpp.start(
            self.file, context=context, slots=1, server=self.asked.llama_server
        )  # fmt: skip
        try:
            prompted = Prompted(
                server, Prompt.parse(self.asked.prompt), max_length=served.max_length,
                min_length=served.min_length, decoding={},
            )  # fmt: skip
            reading = Reading(server, prompted, self.layout.end)
            return [reading.rows(cases) for cases in parts]
        finally:
            server.end()

    def save(self, trained: Any, target: Path) -> None:
        from peft.tuners.lora import LoraLayer

        here = {there: name for name, there in self.names.items()}
        deltas = {
            (name := here[f"{path.removeprefix(AROUND)}.weight"]): partial(self._learned, name, one)
            for path, one in trained.named_modules()
            if isinstance(one, LoraLayer)
        }
        part = target.with_name(f".{target.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(target, ignore_errors=True)
        part.mkdir()
        merge(self.file, deltas, part / FILE)
        part.rename(target)

    def _learned(self, name: str, layer: Any) -> Any:
        """What LoRA adds to a matrix, as the file has it."""
        delta = layer.get_delta_weight("default").detach().float().cpu().numpy()
        return self.layout.laid(name, delta)

    def refuse_other_weights(self) -> None:
        """
        Raises:
            UsageError: transformers has read something else than what is in the file where what
                was learned would be put back.
        """
        import numpy
        from gguf import GGUFReader, dequantize

        state = self.model.state_dict()
        for one in GGUFReader(self.file).tensors:
            if one.name not in self.names:
                raise self._refusal(f"transformers does not read its {one.name}")
            read = self.layout.laid(one.name, state[self.names[one.name]].numpy())
            if not numpy.array_equal(read, dequantize(one.data, one.tensor_type)):
                raise self._refusal(f"transformers reads its {one.name} otherwise")

    def _refusal(self, why: str) -> UsageError:
        return UsageError(f"{self.file.name} cannot be tuned: {why}", fix=FIX)


def batch(rows: list[Row]) -> dict[str, Any]:
    """Tensors of (rows, tokens of the longest), filled up at the end."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    filled = {"input_ids": 0, "attention_mask": 0, "labels": UNJUDGED}
    return {
        name: pad_sequence(
            [torch.tensor(row[name]) for row in rows], batch_first=True, padding_value=value
        )
        for name, value in filled.items()
    }  # fmt: skip
