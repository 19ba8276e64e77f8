"""A model of a hub in the registry: its record only.

The hub library's cache stays the store of its files, for they can be fetched again at the
pinned revision, verified against what the hub announced, and compared with the record's id.
"""

from __future__ import annotations

from pathlib import Path

from llmlab.config import Model
from llmlab.models.identity import content_id
from llmlab.models.store import Manifest, is_converted
from llmlab.registry.record import Base, Facts
from llmlab.registry.registry import Added, Registry


def record_pulled(registry: Registry, name: str, model: Model, folder: Path) -> Added | None:
    """Record a model that was just pulled; None for one that is from no hub.

    Args:
        folder: what ``models.pull`` gave: the snapshot, or what was converted from it.
    """
    if not model.repository or model.runtime not in ("ctranslate2", "transformers"):
        return None
    source_id = Manifest.read(folder).source if is_converted(folder) else content_id(folder)
    facts = Facts(
        "hub",
        runtime=model.runtime,
        compute_type=model.compute_type,
        max_length=model.max_length,
        min_length=model.min_length,
        license=model.license,
        base=Base(model.repository, model.revision, source_id),
    )
    return registry.add_hub(name, facts)
