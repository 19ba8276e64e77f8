"""Where a model comes from: embedded in llmlab, a local folder, a model hub, or a Python package.

For the runtime ``ctranslate2`` it is then converted, once, and kept in the store. One elsewhere,
of the runtime ``openai``, comes from nowhere: it is asked over the network.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from llmlab.config import Model
from llmlab.errors import ModelUnavailable, UsageError
from llmlab.models import hub, language, store
from llmlab.models.convert import convert
from llmlab.models.identity import content_id, model_files
from llmlab.models.ready import Availability, missing_packages, not_installed, not_the_same
from llmlab.near import hint

PACKAGES = ("torch", "transformers")  # to run a model as it is published, and to convert it
SERVING_PACKAGES = ("ctranslate2", "tokenizers")  # to run a converted model
HUB_PACKAGES = ("huggingface_hub",)  # to find and fetch what a container serves
MODELS_EXTRA, SERVE_EXTRA = "pip install 'llmlab[models]'", "pip install 'llmlab[serve]'"

Say = Callable[[str], None]


def availability(
    name: str,
    model: Model,
    lab_root: Path,
    *,
    runs_here: bool = True,
    llama_server: str = "",
) -> Availability:
    """Look on the disk only; never the network, never an import of torch.

    Args:
        runs_here: this installation serves the model, rather than a container's.
        llama_server: as ``service.llama_server`` of lab.toml.
    """
    if model.kind in ("embedded", ""):  # "": elsewhere, and so nothing of it is here
        return Availability(True)
    if model.runtime == "llamacpp":
        return language.availability(
            name, model, lab_root, runs_here=runs_here, llama_server=llama_server
        )
    if model.runtime == "ctranslate2":
        return _converted(name, model, lab_root, runs_here)
    if missing := missing_packages(PACKAGES if runs_here else HUB_PACKAGES):
        return Availability(False, reason=not_installed(missing), fix=MODELS_EXTRA)
    return _published(name, model, lab_root)


def pull(
    name: str,
    model: Model,
    lab_root: Path,
    *,
    say: Say,
    runs_here: bool = True,
) -> Path | None:
    """Make a model available: download what is missing, verify every file, and convert it
    where its runtime needs that.

    An interrupted download is taken up where it stopped; of a Python package, what is fetched
    whole. A converted model that is intact needs no source any more.

    Returns:
        The folder with the model's files; None for an embedded model, and for one elsewhere.

    Raises:
        ModelUnavailable: not reachable within 10 s, refused, incomplete, damaged, or not to be
            run by its runtime.
        EnvironmentFailure: the conversion failed.
    """
    if model.kind in ("embedded", ""):
        return None
    if model.runtime == "llamacpp":
        return language.pull(name, model, lab_root, say)
    if model.runtime == "ctranslate2":
        return _pull_converted(name, model, lab_root, say, runs_here)
    _need(name, PACKAGES if runs_here else HUB_PACKAGES)
    return _pull_published(name, model, lab_root, say)


def _pull_published(name: str, model: Model, lab_root: Path, say: Say) -> Path:
    if model.repository:
        return hub.download(name, model.repository, model.revision, say)
    found = _published(name, model, lab_root)
    if found.folder is None:
        raise ModelUnavailable(f"{name}: {found.reason}", fix=found.fix)
    return found.folder


def _pull_converted(name: str, model: Model, lab_root: Path, say: Say, runs_here: bool) -> Path:
    found = _converted(name, model, lab_root, runs_here)
    if found.folder and store.is_intact(found.folder):
        return found.folder
    _need(name, (*SERVING_PACKAGES, *PACKAGES))
    try:
        folder = _pull_published(name, model, lab_root, say)
    except ModelUnavailable:
        # Without a way to the hub, what is whole on disk is as good.
        there = hub.intact(model.repository, model.revision) if model.repository else None
        if there is None:
            raise
        folder = there
    source_id = content_id(folder)
    if model.content_id not in ("", source_id):
        raise not_the_same(name, folder, source_id, model.content_id)
    converted = convert(name, folder, source_id, model.compute_type, say)
    if model.repository:
        store.remember(model.repository, model.revision, source_id)
    return converted


def _published(name: str, model: Model, lab_root: Path) -> Availability:
    """The model as its author published it."""
    if not model.repository:
        folder = _folder(model, lab_root)
        if problem := hub.incomplete(folder):
            return Availability(False, reason=problem, fix=f"correct models.{name}.source")
        return Availability(True, folder)
    cached = hub.cached(model.repository, model.revision)
    if cached is None or hub.incomplete(cached):
        reason = f"{model.repository} is not on disk"
        return Availability(False, reason=reason, fix=f"llmlab models pull {name}")
    return Availability(True, cached)


def _converted(name: str, model: Model, lab_root: Path, runs_here: bool) -> Availability:
    """The model as its runtime reads it; neither its source nor torch need to be there."""
    if runs_here and (missing := missing_packages(SERVING_PACKAGES)):
        return Availability(False, reason=not_installed(missing), fix=SERVE_EXTRA)
    folder = _place(model, lab_root)
    if folder and store.is_converted(folder):
        if (found := store.Manifest.read(folder).compute_type) == model.compute_type:
            return Availability(True, folder)
        reason = f"{folder} was converted to {found}, not to {model.compute_type}"
        return Availability(False, reason=reason, fix=f"correct models.{name}.compute_type")
    if missing := missing_packages(PACKAGES):
        reason = f"it is not converted to {model.compute_type} yet, and {not_installed(missing)}"
        return Availability(False, reason=reason, fix=MODELS_EXTRA)
    published = _published(name, model, lab_root)
    reason = f"it is not converted to {model.compute_type} yet"
    fix = f"llmlab models pull {name}"
    return Availability(False, reason=reason, fix=fix) if published.ready else published


def _place(model: Model, lab_root: Path) -> Path | None:
    """Where the converted model is or would be; None while its source is unknown."""
    if model.repository:
        source_id = model.content_id or store.remembered(model.repository, model.revision)
        return store.place(source_id, model.compute_type) if source_id else None
    folder = _folder(model, lab_root)
    if store.is_converted(folder) or hub.incomplete(folder):
        return folder
    return store.place(model.content_id or content_id(folder), model.compute_type)


def _folder(model: Model, lab_root: Path) -> Path:
    return (lab_root / model.source.removeprefix("path:")).expanduser()


def files_of(model: Model, folder: Path) -> list[Path]:
    """The files that make up a model, in the folder that ``availability`` and ``pull`` give.

    Raises:
        ModelUnavailable: of a language model, none or several are there.
    """
    if model.runtime == "llamacpp":
        return [language.weights(model, folder)]
    return model_files(folder)


def _need(name: str, packages: tuple[str, ...]) -> None:
    if missing := missing_packages(packages):
        raise ModelUnavailable(f"{name} needs the packages {', '.join(missing)}", fix=MODELS_EXTRA)


def checked_name(name: str, models: dict[str, Model]) -> Model:
    """The configured model of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in models:
        raise UsageError(
            f"no model {name!r} is defined; defined: {', '.join(models)}{hint(name, models)}",
            fix=f"add [models.{name}] to configs/lab.toml",
        )
    return models[name]
