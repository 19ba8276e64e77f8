"""What is asked for when a model is tuned."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from llmlab.errors import UsageError

SCRATCH = "scratch:tiny"
_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smh]?)")
_SECONDS = {"": 60.0, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Request:
    """One call of ``tune``. What is None is chosen to fit the base.

    Args:
        base: ``scratch:tiny``, a model of the lab, a folder laid out like a hub snapshot, or a
            language model's ``.gguf`` file.
        data: a file as ``data.load_pairs`` takes it.
        name: of the model that comes out.
        suite: what judges it at the very end, once: a suite's name or file. Without one, the
            part of the data that is kept for that.
        until: a gate for the validation part, and at the end for the suite.
        max_rounds: of tuning, if the gate does not pass before.
        baseline: the model that a gate compares with; by default the base itself.
        full: train all weights, rather than LoRA's; not of a language model.
        budget: seconds for all of it.
        epochs, batch, rate: of one round; batch in examples, rate the peak learning rate.
        patience: looks at the validation part without a better loss after which a round ends.
        compute_type: what ctranslate2 converts it to; None for a language model.
        force_overlap: go on though the data shares texts with a suite; it is recorded.
        keep: register the model even if it is not accepted.
        fresh: begin anew, though a tune of that name can be taken up.
    """

    base: str
    data: Path
    name: str
    suite: str | None = None
    until: str | None = None
    max_rounds: int = 3
    baseline: str | None = None
    full: bool = False
    budget: float | None = None
    epochs: float | None = None
    batch: int | None = None
    rate: float | None = None
    patience: int | None = None
    seed: int = 1
    compute_type: str | None = None
    force_overlap: bool = False
    keep: bool = False
    fresh: bool = False


def parse_budget(text: str) -> float:
    """Seconds of ``90s``, ``20m``, ``1.5h``, or of plain minutes.

    Raises:
        UsageError: it is none of these, or nothing at all.
    """
    found = _SPAN.fullmatch(text.strip())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if seconds <= 0:
        raise UsageError(f"{text!r} is no time", fix="--budget 20m, or 90s, or 1.5h")
    return seconds
