"""Where the weights start: a published model, a registered one, a folder, or nothing at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmlab.config import Model
from llmlab.errors import UsageError
from llmlab.models import gguf, hub, language, pull
from llmlab.models.identity import content_id, digests, id_of, version_id
from llmlab.models.prompts import prompt_of
from llmlab.models.ready import not_the_same
from llmlab.models.store import is_converted
from llmlab.registry import Base
from llmlab.registry.catalogue import Catalogue, Known
from llmlab.registry.record import PUBLISHED
from llmlab.tune.layout import Layout
from llmlab.tune.request import SCRATCH

Say = Callable[[str], None]


@dataclass(frozen=True)
class Start:
    """What is tuned.

    Args:
        name: as it was asked for.
        weights: as they were published: a folder, or the file of a language model; None for
            ``scratch:tiny``.
        model: how it is served; None for ``scratch:tiny``.
        parent: its content id; "" for ``scratch:tiny``.
        base: the published model that it is, or comes from.
    """

    name: str
    weights: Path | None = None
    model: Model | None = None
    parent: str = ""
    base: Base | None = None

    @property
    def from_scratch(self) -> bool:
        return self.weights is None

    @property
    def is_language(self) -> bool:
        return self.model is not None and self.model.runtime == "llamacpp"


def find_start(reference: str, catalogue: Catalogue, say: Say) -> Start:
    """The base of that name; a model of a hub is fetched if it is not on the disk.

    Raises:
        UsageError: there is no such model, or it has no weights that can be trained.
        ModelUnavailable: it cannot be had.
    """
    if reference == SCRATCH:
        return Start(SCRATCH)
    if reference.startswith("scratch:"):
        raise UsageError(f"{reference} is not known; there is {SCRATCH}", fix=f"--base {SCRATCH}")
    path = Path(reference).expanduser()
    if path.name.endswith(gguf.SUFFIX) or (path.is_dir() and any(path.glob(gguf.PATTERN))):
        model = Model(runtime="llamacpp", source=f"path:{_file(path).absolute()}")
        return _of_language(Known(reference, model), catalogue, say)
    if "/" in reference or path.is_dir():
        return _of_folder(path)
    known = catalogue.get(reference)
    if known.model.runtime == "extractive":
        raise UsageError(
            f"{reference} chooses sentences by a rule; it has no weights to train",
            fix=f"--base {SCRATCH}, or a model as in llmlab models list",
        )
    if known.model.runtime == "scripted":
        raise UsageError(
            f"{reference} does what it is told; it has no weights to train",
            fix=f"--base {SCRATCH}, or a model as in llmlab models list",
        )
    if known.model.runtime == "openai":
        raise UsageError(
            f"{reference} is elsewhere; its weights are not here to be trained",
            fix="a model as in llmlab models list that has a source",
        )
    if known.model.runtime == "llamacpp":
        return _of_language(known, catalogue, say)
    as_published = known.model.model_copy(update={"runtime": "transformers"})
    folder = pull(known.name, as_published, catalogue.registry.root, say=say)
    assert folder is not None
    _refuse_untrainable(folder)
    found = content_id(folder)
    if known.model.content_id not in ("", found):
        raise not_the_same(known.name, folder, found, known.model.content_id)
    base = known.record.facts.base if known.record else None
    if known.model.repository:
        base = Base(known.model.repository, known.model.revision, found)
    return Start(reference, folder, known.model, found, base)


def _of_language(known: Known, catalogue: Catalogue, say: Say) -> Start:
    model, root = known.model, catalogue.registry.root
    folder = pull(known.name, model, root, say=say)
    assert folder is not None
    file = language.weights(model, folder)
    Layout.of(file).refuse_too_large(file)
    prompt = prompt_of(known.name, model, root)
    found = digests([file])
    base = known.record.facts.base if known.record else None
    if model.kind in PUBLISHED:
        base = Base(model.repository or model.wheel, model.revision, id_of(found))
    parent = version_id(found, prompt, model.decoding.as_body())
    return Start(known.name, file, model, parent, base)


def _file(path: Path) -> Path:
    """The GGUF that a path means.

    Raises:
        UsageError: there is none, or which of several is not said, or it cannot be read.
    """
    problem = ""
    if path.is_dir():
        name, problem = gguf.chosen([one.name for one in path.iterdir()], "", path)
        path /= name
    elif gguf.PART.search(path.name):
        _, problem = gguf.chosen([path.name], "", path.parent)
    if problem := problem or gguf.problem(path):
        raise UsageError(problem, fix="--base FOLDER/FILE.gguf")
    return path


def _of_folder(folder: Path) -> Start:
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", fix="--base FOLDER with a model's files")
    _refuse_untrainable(folder)
    if problem := hub.incomplete(folder):
        raise UsageError(f"{folder} is no model: {problem}", fix="a folder like a hub snapshot")
    model = Model(runtime="ctranslate2", source=f"path:{folder.absolute()}")
    return Start(str(folder), folder, model, content_id(folder))


def _refuse_untrainable(folder: Path) -> None:
    """
    Raises:
        UsageError: the weights are rounded, or those of a model that nothing here could serve.
    """
    if is_converted(folder):
        raise UsageError(
            f"{folder} holds a converted model, whose weights are rounded and cannot be trained",
            fix="name the model that it was converted from",
        )
    if any(name.endswith("ForCausalLM") for name in _architectures(folder)):
        raise UsageError(
            f"{folder} holds a language model as safetensors, which nothing here serves",
            fix="--base FILE.gguf: convert_hf_to_gguf.py of llama.cpp makes one of the folder",
        )


def _architectures(folder: Path) -> list[str]:
    """As its config.json says; nothing where that makes no sense, which others tell."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return [str(one) for one in found.get("architectures") or ()]
    except (OSError, ValueError, AttributeError, TypeError):
        return []
