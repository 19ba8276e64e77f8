"""How a model generates. ``load`` imports only what the chosen runtime needs."""

from __future__ import annotations

from pathlib import Path

from llmlab.config import Model
from llmlab.models.identity import content_id
from llmlab.runtimes.base import Encoded, Generation, Runtime, Strategy, Summary, TextTooLong

__all__ = ["Encoded", "Generation", "Runtime", "Strategy", "Summary", "TextTooLong", "load"]


def load(model: Model, folder: Path | None) -> tuple[Runtime, str]:
    """Load a model for serving.

    Args:
        folder: where its files are; None for an embedded model.

    Returns:
        The runtime and the model's content id.
    """
    limits = {"max_length": model.max_length, "min_length": model.min_length}
    if model.runtime == "extractive":
        from llmlab.runtimes.extractive import TextRank, identity

        return TextRank(**limits), identity()
    from llmlab.runtimes.seq2seq import Seq2Seq

    assert folder is not None
    return Seq2Seq(folder, **limits), content_id(folder)
