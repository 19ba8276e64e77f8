"""What is known of a model without loading it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmlab.config import Model
from llmlab.models.identity import content_id, model_files
from llmlab.models.sources import availability


def inspect(name: str, model: Model, lab_root: Path) -> dict[str, Any]:
    """Facts for people and programs; ``id`` and ``files`` only where the model is on disk."""
    found = availability(name, model, lab_root)
    facts: dict[str, Any] = {"name": name, **model.model_dump(), "ready": found.ready}
    if not found.ready:
        return facts | {"reason": found.reason, "fix": found.fix}
    if found.folder is None:
        from llmlab.runtimes.extractive import identity

        return facts | {"id": identity()}
    from llmlab.runtimes.decoding import summarization_params

    return facts | {
        "id": content_id(found.folder),
        "folder": str(found.folder),
        "decoding": summarization_params(found.folder),
        "files": [
            {"name": file.name, "bytes": file.stat().st_size} for file in model_files(found.folder)
        ],
    }
