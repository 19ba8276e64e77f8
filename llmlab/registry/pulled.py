"""A published model in the registry: its record only.

The hub library's cache stays the store of a hub's files, and the store of models that of what was
taken out of a Python package: for they can be fetched again, at the pinned revision or version,
verified against what was announced, and compared with the record's id.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmlab.config import Model
from llmlab.models.identity import content_id, digests, id_of
from llmlab.models.prompts import prompt_of
from llmlab.models.sources import files_of
from llmlab.models.store import Manifest, is_converted
from llmlab.registry.record import PUBLISHED, Base, Facts
from llmlab.registry.registry import Added, Registry


def record_pulled(registry: Registry, name: str, model: Model, folder: Path) -> Added | None:
    """Record a model that was just pulled; None for one that was published nowhere.

    Args:
        folder: what ``models.pull`` gave: the snapshot, what was converted from it, or the place
            in the store.

    Raises:
        ConfigError: the prompt of a language model is none.
    """
    if model.kind not in PUBLISHED:
        return None
    if model.runtime == "llamacpp":
        files = digests(files_of(model, folder))
        facts = language_facts(model, prompt_of(name, model, registry.root))
        base = Base(model.repository or model.wheel, model.revision, id_of(files))
        published: Any = {"source": model.kind, "base": base, "file": next(iter(files))}
        return registry.add_hub(name, Facts(**{**facts, **published}), files)
    source_id = Manifest.read(folder).source if is_converted(folder) else content_id(folder)
    served: Any = {"runtime": model.runtime, "compute_type": model.compute_type}
    facts_of_it = Facts(
        "hub",
        **served,
        max_length=model.max_length,
        min_length=model.min_length,
        license=model.license,
        base=Base(model.repository, model.revision, source_id),
    )
    return registry.add_hub(name, facts_of_it)


def language_facts(model: Model, prompt: str) -> dict[str, Any]:
    """What ``Facts`` say of a language model beside where it is from."""
    return {
        "runtime": model.runtime, "max_length": model.max_length, "min_length": model.min_length,
        "license": model.license, "prompt": prompt, "decoding": model.decoding.as_body(),
        "context": model.context, "slots": model.slots,
    }  # fmt: skip
