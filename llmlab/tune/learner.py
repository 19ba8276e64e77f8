"""What a round trains, whatever kind of model it is: ``seq2seq`` and ``causal`` are the two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from llmlab.evaluate.suite import Case

# Of a language model that comes out; its old name may tell a quantization that it has no more.
FILE = "model.gguf"
Row = dict[str, list[int]]  # what transformers' models take: input_ids, attention_mask, labels


@dataclass(frozen=True, slots=True)
class Rows:
    """Examples as tokens. ``left_out``: cases of which none could be made."""

    all: tuple[Row, ...]
    left_out: int


class Learner(Protocol):
    """A base in memory.

    Args:
        model: of transformers.
        task: what it does, as PEFT calls it.
        collator: makes a batch of rows.
    """

    @property
    def model(self) -> Any: ...

    @property
    def task(self) -> str: ...

    @property
    def collator(self) -> Callable[[list[Row]], Any]: ...

    def rows(self, *parts: Sequence[Case]) -> list[Rows]:
        """Of each part of the data, as the service reads it."""

    def save(self, trained: Any, target: Path) -> None:
        """Write a model to a folder, which is there in one step.

        Args:
            trained: ``model``, or what PEFT has put around it.
        """


Load = Callable[[Path], Learner]
