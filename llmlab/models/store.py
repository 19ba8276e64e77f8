"""Converted models: where they are kept, what says what they are, and whether they are intact.

One store for all labs of a user, $LLMLAB_HOME/models or $XDG_CACHE_HOME/llmlab/models:

    3f0c...-int8-1/          a converted model: of what, to what, by which converter
        llmlab-manifest.json the same in full, and the hash of every file
        model.bin  config.json  shared_vocabulary.json  tokenizer.json  summarization.json
    refs/OWNER--NAME@COMMIT  the content id of what a hub has there

Everything can be made again, so it may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from llmlab.errors import EnvironmentFailure, ModelUnavailable
from llmlab.files import locked, write_atomically
from llmlab.models.identity import MANIFEST, damaged_names, digests, id_of, model_files

CONVERTER = 1  # what is made of the same source changes with this number
FOLDER_MODE, FILE_MODE = 0o755, 0o644  # a container's user reads them too


@dataclass(frozen=True)
class Manifest:
    """What a converted model is: the content id of its source, and {file: sha256}."""

    source: str
    compute_type: str
    converter: int
    files: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Raises ModelUnavailable: there is none, or it makes no sense."""
        try:
            return cls(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise _damaged(folder, MANIFEST) from error

    def write(self, folder: Path) -> None:
        content = json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"
        write_atomically(folder / MANIFEST, content, FILE_MODE)


def store(environ: Mapping[str, str] | None = None) -> Path:
    """The folder of all converted models."""
    environ = os.environ if environ is None else environ
    if home := environ.get("LLMLAB_HOME"):
        return Path(home).expanduser().absolute() / "models"
    cache = Path(environ.get("XDG_CACHE_HOME", ""))
    # The specification: a relative path is to be ignored.
    base = cache if cache.is_absolute() else Path.home() / ".cache"
    return base / "llmlab" / "models"


def place(source_id: str, compute_type: str) -> Path:
    """Where a model converted from that source is, or would be.

    Raises:
        EnvironmentFailure: everybody may write to the store.
    """
    digits = source_id.removeprefix("sha256:")[:16]
    return _not_everybodys(store()) / f"{digits}-{compute_type}-{CONVERTER}"


def _not_everybodys(folder: Path) -> Path:
    """A converted model says itself of which source it is made: nobody else may put one there.

    Raises:
        EnvironmentFailure: everybody may write to the folder.
    """
    if folder.exists() and folder.stat().st_mode & stat.S_IWOTH:
        raise EnvironmentFailure(
            f"everybody may write to {folder}, so what is there may be anybody's model",
            fix=f"rm -r {folder} (it can be made again), or LLMLAB_HOME=FOLDER of your own",
        )
    return folder


def is_converted(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def verify(folder: Path) -> str:
    """Read every byte of a converted model.

    Returns:
        Its content id, which covers the weights as they are after quantization.

    Raises:
        ModelUnavailable: a file is missing, was changed, or was added.
    """
    expected, found = Manifest.read(folder).files, digests(model_files(folder))
    for name in damaged_names(expected, found):
        if name != MANIFEST:
            raise _damaged(folder, name)
    return id_of(found)


def origins() -> Iterator[tuple[str, str]]:
    """(content id, content id of its source) of every model in the store.

    The ids are what the manifests say; no weights are read.
    """
    for file in store().glob(f"*/{MANIFEST}"):
        with contextlib.suppress(ModelUnavailable, OSError):
            manifest = Manifest.read(file.parent)
            files = {**manifest.files, **digests([file])}
            yield id_of(dict(sorted(files.items()))), manifest.source


def is_intact(folder: Path) -> bool:
    """Whether there is a converted model that ``verify`` accepts."""
    try:
        verify(folder)
    except ModelUnavailable:
        return False
    return True


def _damaged(folder: Path, name: str) -> ModelUnavailable:
    return ModelUnavailable(
        f"{name} is not as it was converted, in {folder}; `models pull` makes it anew",
        fix="llmlab models pull NAME converts the model again",
    )


def remember(repository: str, revision: str, source_id: str) -> None:
    """Note what a hub has under a commit, so that the source may go once it is converted."""
    ref = _ref(repository, revision)
    ref.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(ref, source_id + "\n", FILE_MODE)


def remembered(repository: str, revision: str) -> str:
    """The content id of what a hub has under a commit; "" if it was never converted here."""
    try:
        return _ref(repository, revision).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _ref(repository: str, revision: str) -> Path:
    return store() / "refs" / f"{repository.replace('/', '--')}@{revision}"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only process of this user that works on one place of the store."""
    if not folder.parent.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.parent.chmod(FOLDER_MODE)  # whatever the umask leaves to others
    with locked(folder.parent / f".{folder.name}.lock"):
        yield


@contextmanager
def installing(folder: Path, source_id: str, compute_type: str) -> Iterator[Path]:
    """Give a folder to fill, and make it the one in the store in a single step at the end.

    Nothing is to be seen of it before, nor if the process is killed: what was left by one
    that was is removed by the next. Call it ``alone``.
    """
    for leftover in folder.parent.glob(f".{folder.name}.part-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.part-", dir=folder.parent))
    try:
        yield partial
        for file in partial.iterdir():
            file.chmod(FILE_MODE)
        files = digests(sorted(partial.iterdir()))
        Manifest(source_id, compute_type, CONVERTER, files).write(partial)
        partial.chmod(FOLDER_MODE)
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
