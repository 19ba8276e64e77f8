"""How a round trains: what was asked for, and for the rest what suits the base."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from llmlab.errors import UsageError
from llmlab.tune.bases import Start
from llmlab.tune.request import Request


@dataclass(frozen=True)
class Parameters:
    """Of one round.

    Args:
        method: ``lora`` trains small matrices beside the weights and adds them in the end.
        rate: peak of the learning rate; it rises at first, and falls to 0 at the end.
        batch: examples of a step.
        patience: looks at the validation part without a better loss, after which it ends.
        rank, alpha, dropout: LoRA's.
        threads: of the processor; 0 for one on each core.
    """

    method: Literal["lora", "full"]
    epochs: float
    batch: int
    rate: float
    patience: int
    seed: int
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    threads: int = 0

    @classmethod
    def of(cls, request: Request, start: Start) -> Parameters:
        """
        Raises:
            UsageError: a value that nothing can be trained with.
        """
        asked = {name: value for name in ("epochs", "batch", "rate", "patience")
                 if (value := getattr(request, name)) is not None}  # fmt: skip
        for name, value in asked.items():
            if value <= 0:
                raise UsageError(f"--{name} {value}: should be more than 0")
        if request.full and start.is_language:
            raise UsageError(
                f"{start.name} is a language model, of which only LoRA's weights are trained",
                fix="leave out --full",
            )
        return replace(_for(start, request.full), seed=request.seed, **asked)

    def in_round(self, number: int) -> Parameters:
        """Later rounds see the data in another order, and take smaller steps."""
        return replace(self, seed=self.seed + number - 1, rate=self.rate / number)

    def as_json(self) -> dict[str, Any]:
        found = asdict(self)
        if self.method == "full":
            for name in ("rank", "alpha", "dropout"):
                del found[name]
        return found


def _for(start: Start, full: bool) -> Parameters:
    """Rates: T5 takes larger ones than BERT's kin, and these than language models; LoRA ten times
    those of full training."""
    if start.from_scratch:
        # Its matrices are so small that a second thread gains little, and on a busy machine
        # waiting for it costs ten times that. One thread also adds numbers in one order only.
        return Parameters("full", epochs=3, batch=16, rate=1e-3, patience=5, seed=1, threads=1)
    if start.is_language:
        return Parameters("lora", epochs=3, batch=4, rate=3e-4, patience=3, seed=1)
    if full:
        return Parameters("full", epochs=3, batch=8, rate=1e-4, patience=3, seed=1)
    return Parameters("lora", epochs=3, batch=8, rate=1e-3, patience=3, seed=1)
