"""Where the weights start: a published model, a registered one, a folder, or nothing at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmlab.config import Model
from llmlab.errors import UsageError
from llmlab.models import hub, pull
from llmlab.models.identity import content_id
from llmlab.models.ready import not_the_same
from llmlab.models.store import is_converted
from llmlab.registry import Base
from llmlab.registry.catalogue import Catalogue
from llmlab.tune.request import SCRATCH

Say = Callable[[str], None]


@dataclass(frozen=True)
class Start:
    """What is tuned.

    Args:
        name: as it was asked for.
        folder: its weights as they were published; None for ``scratch:tiny``.
        model: how it is served; None for ``scratch:tiny``.
        parent: its content id; "" for ``scratch:tiny``.
        base: the published model that it is, or comes from.
    """

    name: str
    folder: Path | None = None
    model: Model | None = None
    parent: str = ""
    base: Base | None = None

    @property
    def from_scratch(self) -> bool:
        return self.folder is None


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
    if "/" in reference or Path(reference).is_dir():
        return _of_folder(Path(reference))
    known = catalogue.get(reference)
    if known.model.runtime == "extractive":
        raise UsageError(
            f"{reference} chooses sentences by a rule; it has no weights to train",
            fix=f"--base {SCRATCH}, or a model as in llmlab models list",
        )
    if known.model.runtime == "openai":
        raise UsageError(
            f"{reference} is elsewhere; its weights are not here to be trained",
            fix="a model as in llmlab models list that has a source",
        )
    as_published = known.model.model_copy(update={"runtime": "transformers"})
    folder = pull(known.name, as_published, catalogue.registry.root, say=say)
    assert folder is not None
    _refuse_converted(folder)
    found = content_id(folder)
    if known.model.content_id not in ("", found):
        raise not_the_same(known.name, folder, found, known.model.content_id)
    base = known.record.facts.base if known.record else None
    if known.model.repository:
        base = Base(known.model.repository, known.model.revision, found)
    return Start(reference, folder, known.model, found, base)


def _of_folder(folder: Path) -> Start:
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", fix="--base FOLDER with a model's files")
    _refuse_converted(folder)
    if problem := hub.incomplete(folder):
        raise UsageError(f"{folder} is no model: {problem}", fix="a folder like a hub snapshot")
    model = Model(runtime="ctranslate2", source=f"path:{folder.absolute()}")
    return Start(str(folder), folder, model, content_id(folder))


def _refuse_converted(folder: Path) -> None:
    if is_converted(folder):
        raise UsageError(
            f"{folder} holds a converted model, whose weights are rounded and cannot be trained",
            fix="name the model that it was converted from",
        )
