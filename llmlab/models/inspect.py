"""What is known of a model without loading it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from llmlab.config import Model
from llmlab.models.identity import content_id, elsewhere_id, model_files
from llmlab.models.prompts import prompt_of
from llmlab.models.sources import availability
from llmlab.models.store import Manifest, is_converted


class ModelFile(TypedDict):
    name: str
    bytes: int


class ModelFacts(TypedDict):
    """What is known of a model: its table in lab.toml, and what is on this disk.

    Args:
        compute_type: of the runtime ctranslate2.
        ready: whether it can be served right now; ``reason`` and ``fix`` say why not.
        id: its content id, if it is ready; as are ``folder``, ``decoding`` and ``files``.
        converted_from: content id of the model that it was converted from.
        converted_bytes: size of what it was converted to.
    """

    name: str
    runtime: str
    source: str
    revision: str
    content_id: NotRequired[str]
    compute_type: NotRequired[Literal["int8", "float32"]]
    license: str
    max_length: int
    min_length: int
    ready: bool
    reason: NotRequired[str]
    fix: NotRequired[str | None]
    id: NotRequired[str]
    folder: NotRequired[str]
    decoding: NotRequired[dict[str, Any]]
    converted_from: NotRequired[str]
    converted_bytes: NotRequired[int]
    files: NotRequired[list[ModelFile]]


def inspect(name: str, model: Model, lab_root: Path) -> dict[str, Any]:
    """Facts for people and programs; ``id`` and ``files`` only where the model is on disk."""
    found = availability(name, model, lab_root)
    facts: dict[str, Any] = {"name": name, **model.model_dump(), "ready": found.ready}
    if model.runtime != "ctranslate2":
        del facts["compute_type"]  # of no effect
    if not model.content_id:
        del facts["content_id"]
    if not found.ready:
        return facts | {"reason": found.reason, "fix": found.fix}
    if found.folder is None:
        return facts | {"id": _of_no_files(model, lab_root)}
    files = model_files(found.folder)
    return facts | {
        "id": content_id(found.folder),
        "folder": str(found.folder),
        **(_converted if is_converted(found.folder) else _published)(found.folder),
        "files": [{"name": file.name, "bytes": file.stat().st_size} for file in files],
    }


def ids(name: str, model: Model, lab_root: Path) -> list[str]:
    """The content ids of a model on disk: its own, and its source's if it was converted. Reads
    all its files; nothing for one that is not ready."""
    found = availability(name, model, lab_root)
    if not found.ready:
        return []
    if found.folder is None:
        return [_of_no_files(model, lab_root)]
    source = [Manifest.read(found.folder).source] if is_converted(found.folder) else []
    return [content_id(found.folder), *source]


def _of_no_files(model: Model, lab_root: Path) -> str:
    """The id of an embedded model, or of one elsewhere."""
    if model.runtime == "openai":
        prompt = prompt_of(model, lab_root)
        return elsewhere_id(model.base_url, model.model, prompt, model.decoding.as_body())
    from llmlab.runtimes.extractive import identity

    return identity()


def _published(folder: Path) -> dict[str, Any]:
    from llmlab.runtimes.decoding import summarization_params

    return {"decoding": summarization_params(folder)}


def _converted(folder: Path) -> dict[str, Any]:
    from llmlab.runtimes.recipe import Recipe

    recipe, manifest = Recipe.read(folder), Manifest.read(folder)
    size = sum((folder / name).stat().st_size for name in manifest.files)
    return {
        "decoding": {"prefix": recipe.prefix, **asdict(recipe.decoding)},
        "converted_from": manifest.source,
        "converted_bytes": size,
    }
