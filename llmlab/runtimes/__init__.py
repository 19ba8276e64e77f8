"""How a model generates. ``load`` imports only what the chosen runtime needs."""

from __future__ import annotations

from pathlib import Path

from llmlab.config import Model
from llmlab.models.identity import content_id
from llmlab.runtimes.base import Encoded, Generation, Runtime, Strategy, Summary, TextTooLong

__all__ = ["Encoded", "Generation", "Runtime", "Strategy", "Summary", "TextTooLong", "load"]


def load(
    model: Model, folder: Path | None, *, replicas: int = 0, threads: int = 1
) -> tuple[Runtime, str]:
    """Load a model for serving.

    Args:
        folder: where its files are; None for an embedded model.
        replicas, threads: of the runtime ctranslate2; as many replicas as fill the cores, and
            as a container's memory allows, for 0.

    Returns:
        The runtime and the model's content id.

    Raises:
        ModelUnavailable: a converted model is not as it was converted.
    """
    limits = {"max_length": model.max_length, "min_length": model.min_length}
    if model.runtime == "extractive":
        from llmlab.runtimes.extractive import TextRank, identity

        return TextRank(**limits), identity()
    assert folder is not None
    if model.runtime == "ctranslate2":
        from llmlab.models.store import verify
        from llmlab.runtimes.cores import default_replicas
        from llmlab.runtimes.ct2 import CTranslate2

        model_id = verify(folder)
        fast = CTranslate2(
            folder, **limits, compute_type=model.compute_type,
            replicas=replicas or default_replicas(threads), threads=threads,
        )  # fmt: skip
        return fast, model_id
    from llmlab.runtimes.seq2seq import Seq2Seq

    return Seq2Seq(folder, **limits), content_id(folder)
