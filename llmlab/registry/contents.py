"""The files of registered models: brought in beside the others, then made visible in one step."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from llmlab.errors import EnvironmentFailure, ModelUnavailable, UsageError
from llmlab.files import locked, sync_folder
from llmlab.lab import private_folder
from llmlab.models import gguf, hub, store
from llmlab.models.identity import damaged_names, digests, model_files

# The folders around it are closed to other users. A container's user, who sees nothing of those,
# reads what is mounted; nobody has a reason to write to it.
FOLDER_MODE, FILE_MODE = 0o755, 0o444
PART = ".part-"
RESERVE = 64 << 20  # bytes of disk that stay free
CHUNK = 1 << 20
DIGITS = re.compile(r"[0-9a-f]{64}")
_ONE_OF_THEM = "llmlab models add FOLDER/FILE.gguf --name NAME"
# The file formats of weights that run code when they are read, for a word on what is left out.
CAN_RUN_CODE = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


class Contents:
    """``models`` is the folder with one folder for each content id."""

    def __init__(self, registry: Path) -> None:
        self._registry = registry
        self.models = registry / "models"

    def make_folders(self) -> None:
        """Create what is missing, for the owner only."""
        for folder in (self._registry.parent, self._registry, self.models):
            private_folder(folder)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only process that brings files in or takes them away."""
        self.make_folders()
        with locked(self._registry / "writer.lock"):
            yield

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder to fill, which nobody sees; it is removed at the end, unless it was installed.
        Call it while ``writing``."""
        staged = Path(tempfile.mkdtemp(prefix=PART, dir=self.models))
        try:
            yield staged
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def install(self, staged: Path, digits: str) -> None:
        """Have a model there under its digits, in one step; or repair the one that is there.

        A model that is there may be in use: so its files are replaced one by one, each in one
        step, and only those that are not as they were.
        """
        target = self.models / digits
        _seal(staged)
        if not target.exists():
            staged.rename(target)
            sync_folder(self.models)
            sync_folder(self._registry)  # in which `models` may be new
            return
        wanted, there = digests(kept_files(staged)), digests(kept_files(target))
        for name in damaged_names(wanted, there):
            if name in wanted:
                (staged / name).replace(target / name)
            else:
                (target / name).unlink()
        sync_folder(target)

    def installed(self) -> list[str]:
        """The digits of the models that are there, whether they are recorded or not."""
        return [one.name for one in self.models.iterdir() if DIGITS.fullmatch(one.name)]

    def collect(self, keep: Collection[str]) -> None:
        """Remove what processes that were killed have left: all but the models with the digits
        in ``keep``. Call it while ``writing``."""
        for entry in self.models.iterdir():
            ours = entry.name.startswith(PART) or DIGITS.fullmatch(entry.name)
            if ours and entry.name not in keep:
                shutil.rmtree(entry, ignore_errors=True)

    def damage(self, digits: str, files: Mapping[str, str]) -> str:
        """Read every byte of a model. Returns what is wrong with it; "" if nothing."""
        folder = self.models / digits
        if not folder.is_dir():
            return f"its folder {folder} is gone"
        names = damaged_names(files, digests(kept_files(folder)))
        return f"not as registered, in {folder}: {', '.join(names)}" if names else ""


def kept_files(folder: Path) -> list[Path]:
    """The files of a model in the registry, of whatever kind it is, sorted by name."""
    return sorted({*model_files(folder), *folder.glob(gguf.PATTERN)}, key=lambda one: one.name)


def copy_gguf(source: Path, pattern: str, staged: Path) -> None:
    """Copy a language model into ``staged``.

    Args:
        source: the file, or a folder that it is in.
        pattern: which of several files of the folder; "" for the only one.

    Raises:
        UsageError: there is none, or it is a link, or cannot be read by llama.cpp.
        EnvironmentFailure: the disk has no room for it.
    """
    if source.is_dir():
        names = [one.name for one in source.glob(gguf.PATTERN)]
        name, problem = gguf.chosen(names, pattern, source)
        if problem:
            raise UsageError(f"this is no language model: {problem}", fix=_ONE_OF_THEM)
        source /= name
    if not source.is_file():
        raise UsageError(f"there is no file {source}")
    check_room(staged, source.stat().st_size)
    with open_regular(source.resolve()) as content:
        write(staged / source.name, content, source.stat().st_size)


def copy_in(source: Path, staged: Path, say: Callable[[str], None]) -> None:
    """Copy the files of a model, and nothing else, into ``staged``.

    Raises:
        UsageError: the folder is no model, or a file of it is a link to somewhere else.
        EnvironmentFailure: the disk has no room for it.
    """
    if not source.is_dir():
        raise UsageError(f"there is no folder {source}")
    top, files = source.resolve(), model_files(source)
    for file in files:
        if file.resolve().parent != top:
            raise UsageError(
                f"{file} is a link out of its folder, and only what is in it is registered",
                fix=f"cp -RL {source} FOLDER && llmlab models add FOLDER ...",
            )
    refuse_incomplete(source)
    if left := sorted({one.name for one in source.iterdir()} - {one.name for one in files}):
        code = [name for name in left if name.endswith(CAN_RUN_CODE)]
        why = f" ({', '.join(code)} can run code)" if code else ""
        say(f"left out, no part of the model: {', '.join(left)}{why}")
    check_room(staged, sum(file.stat().st_size for file in files))
    for file in files:
        with open_regular(file.resolve()) as content:
            write(staged / file.name, content, file.stat().st_size)


def refuse_incomplete(folder: Path, *, language: bool = False) -> None:
    """
    Args:
        language: whether it should be a language model, rather than one laid out like a hub's.

    Raises:
        UsageError: the files in a folder are not those of a model.
    """
    if language:
        name, problem = gguf.chosen([one.name for one in folder.iterdir()], "", "it")
        if problem := problem or gguf.problem(folder / name):
            raise UsageError(f"this is no language model: {problem.replace(f'{folder}/', '')}")
        if not gguf.FILE_NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} has other letters in its name than a-z, 0-9, dot, - and _",
                fix="rename it, then llmlab models add it again",
            )
    elif store.is_converted(folder):
        try:
            store.verify(folder)
        except ModelUnavailable as error:
            raise UsageError(error.message) from None
    elif problem := hub.incomplete(folder):
        raise UsageError(f"this is no model: {problem}")


def check_room(folder: Path, needed: int) -> None:
    """
    Raises:
        EnvironmentFailure: the disk of ``folder`` has no room for so many bytes.
    """
    free = shutil.disk_usage(folder).free
    if needed + RESERVE > free:
        raise EnvironmentFailure(
            f"the model has {needed / 1e6:,.0f} MB, and {folder.parent} has room for "
            f"{max(0, free - RESERVE) / 1e6:,.0f} MB",
            fix="free some space; llmlab models rm takes away models that are of no use",
        )


def open_regular(file: Path) -> BinaryIO:
    """Open a file for reading, unless it is a link or anything else but a file."""
    handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UsageError(f"{file} is no regular file")
    return os.fdopen(handle, "rb")


def write(file: Path, content: BinaryIO, size: int) -> None:
    """Write ``size`` bytes to a new file, and have them on the disk."""
    with file.open("xb") as target:
        copy(content, target, size, file.name)
        target.flush()
        os.fsync(target.fileno())


def copy(content: BinaryIO, target: BinaryIO, size: int, name: str) -> None:
    """Copy exactly ``size`` bytes.

    Raises:
        UsageError: ``content`` ends before.
    """
    while size and (chunk := content.read(min(CHUNK, size))):
        target.write(chunk)
        size -= len(chunk)
    if size:
        raise UsageError(f"{name} ends {size} bytes too early")


def _seal(folder: Path) -> None:
    for file in folder.iterdir():
        file.chmod(FILE_MODE)
    folder.chmod(FOLDER_MODE)
    sync_folder(folder)
