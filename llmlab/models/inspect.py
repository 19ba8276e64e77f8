"""What is known of a model without loading it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from llmlab.config import Model
from llmlab.config.model import ONLY
from llmlab.models import gguf
from llmlab.models.identity import content_id, digests, elsewhere_id, id_of, version_id
from llmlab.models.prompts import prompt_of
from llmlab.models.sources import availability, files_of
from llmlab.models.store import GGUF, Manifest, is_converted, is_stored


class ModelFile(TypedDict):
    name: str
    bytes: int


class GgufFacts(TypedDict):
    """What the head of a GGUF file says.

    Args:
        context: tokens that the model was made for; 0 if it does not say.
        chat_template: whether it has one.
    """

    architecture: str
    name: str
    context: int
    chat_template: bool


class ModelFacts(TypedDict):
    """What is known of a model: its table in lab.toml, and what is on this disk.

    Args:
        compute_type: of the runtime ctranslate2. What else only some runtimes have is there for
            those.
        decoding: of a chat model, what lab.toml says; of another one, its own parameters.
        price: input and output, of a million tokens.
        scale: between which bounds its replicas follow what is asked; max 0: they do not.
        cores, gpus, memory: for each of its replicas, where lab.toml says so of this model.
        ready: whether it can be served right now; ``reason`` and ``fix`` say why not.
        id: its content id, if it is ready; as are ``folder`` and ``files``. Of a language model,
            the id of the version: of its weights, its prompt and its decoding together.
        weights: of a language model: the content id of its file.
        prompt_text: of a chat model, the template itself.
        converted_from: content id of the model that it was converted from.
        converted_bytes: size of what it was converted to.
    """

    name: str
    runtime: str
    source: str
    revision: str
    content_id: NotRequired[str]
    compute_type: NotRequired[Literal["int8", "float32"]]
    cores: NotRequired[float]
    gpus: NotRequired[float]
    memory: NotRequired[str]
    license: str
    max_length: int
    min_length: int
    price: dict[str, float]
    scale: dict[str, float]
    file: NotRequired[str]
    prompt: NotRequired[str]
    prompt_text: NotRequired[str]
    context: NotRequired[int]
    slots: NotRequired[int]
    base_url: NotRequired[str]
    model: NotRequired[str]
    key_file: NotRequired[str]
    key_env: NotRequired[str]
    headers: NotRequired[dict[str, str]]
    ca_file: NotRequired[str]
    timeout: NotRequired[float]
    fallback: NotRequired[str]
    ready: bool
    reason: NotRequired[str]
    fix: NotRequired[str | None]
    id: NotRequired[str]
    weights: NotRequired[str]
    gguf: NotRequired[GgufFacts]
    folder: NotRequired[str]
    decoding: NotRequired[dict[str, Any]]
    converted_from: NotRequired[str]
    converted_bytes: NotRequired[int]
    files: NotRequired[list[ModelFile]]


def inspect(name: str, model: Model, lab_root: Path, *, llama_server: str = "") -> dict[str, Any]:
    """Facts for people and programs; ``id`` and ``files`` only where the model is on disk.

    Args:
        llama_server: as ``service.llama_server`` of lab.toml.

    Raises:
        ConfigError: its prompt is none.
    """
    found = availability(name, model, lab_root, llama_server=llama_server)
    facts: dict[str, Any] = {"name": name, **_table(model), "ready": found.ready}
    prompt = prompt_of(name, model, lab_root)
    if model.chats:
        facts |= {"decoding": model.decoding.as_body(), "prompt_text": prompt}
    if not found.ready:
        return facts | {"reason": found.reason, "fix": found.fix}
    if found.folder is None:
        return facts | {"id": _of_no_files(name, model, lab_root)}
    files = files_of(model, found.folder)
    if model.runtime == "llamacpp":
        facts |= _language_model(model, files, prompt)
    else:
        of_its_kind = (_converted if is_converted(found.folder) else _published)(found.folder)
        facts |= {"id": content_id(found.folder), **of_its_kind}
    return facts | {
        "folder": str(found.folder),
        "files": [{"name": file.name, "bytes": file.stat().st_size} for file in files],
    }


def ids(name: str, model: Model, lab_root: Path, *, llama_server: str = "") -> list[str]:
    """The content ids of a model on disk: its own, and its source's if it was converted; of a
    language model the version's, and that of its weights. Reads all its files; nothing for one
    that is not ready."""
    found = availability(name, model, lab_root, llama_server=llama_server)
    if not found.ready:
        return []
    if found.folder is None:
        return [_of_no_files(name, model, lab_root)]
    if model.runtime == "llamacpp":
        files = files_of(model, found.folder)
        facts = _language_model(model, files, prompt_of(name, model, lab_root))
        return [facts["id"], facts["weights"]]
    source = [Manifest.read(found.folder).source] if is_converted(found.folder) else []
    return [content_id(found.folder), *source]


def quick_id(name: str, model: Model, folder: Path | None, lab_root: Path) -> str:
    """The id of a language model's version as the store knows it, or of what one elsewhere is
    asked; "" where that would take reading all of a file."""
    if model.runtime == "openai":
        return _of_no_files(name, model, lab_root)
    if model.runtime != "llamacpp" or folder is None or not is_stored(folder):
        return ""
    manifest = Manifest.read(folder)
    if manifest.compute_type != GGUF:
        return ""
    prompt = prompt_of(name, model, lab_root)
    return version_id(manifest.files, prompt, model.decoding.as_body())


def _table(model: Model) -> dict[str, Any]:
    """Its table in lab.toml, without what would have no effect."""
    said = {
        key: value
        for key, value in model.model_dump().items()
        if key == "revision" or model.runtime in ONLY.get(key, (model.runtime,))
    }
    unsaid = {"content_id": "", "cores": None, "gpus": None, "memory": ""}
    return {key: value for key, value in said.items() if key not in unsaid or value != unsaid[key]}


def _of_no_files(name: str, model: Model, lab_root: Path) -> str:
    """The id of the embedded model, or of one elsewhere."""
    if model.runtime == "openai":
        prompt = prompt_of(name, model, lab_root)
        return elsewhere_id(model.base_url, model.model, prompt, model.decoding.as_body())
    if model.runtime == "scripted":
        from llmlab.models.loading import scripted_id

        return scripted_id(prompt_of(name, model, lab_root), model.decoding.as_body())
    from llmlab.runtimes.extractive import identity

    return identity()


def _language_model(model: Model, files: list[Path], prompt: str) -> dict[str, Any]:
    found, head = digests(files), gguf.read(files[0])
    return {
        "id": version_id(found, prompt, model.decoding.as_body()),
        "weights": id_of(found),
        "gguf": {"architecture": head.architecture, "name": head.name, "context": head.context,
                 "chat_template": head.chats},
    }  # fmt: skip


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
