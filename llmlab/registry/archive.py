"""A registered model as one file, for machines without a network.

It is a plain tar: `llmlab-model.json`, which says what the model is, then its files by name.
The same record gives the same bytes. An archive may be from anywhere, so it is not unpacked by
tarfile, which knows links, devices and much more: it is read block by block, and nothing is
understood but the regular files that the first one announces, in their order.
"""

from __future__ import annotations

import fnmatch
import io
import os
import re
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, BinaryIO, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from llmlab.errors import EnvironmentFailure, UsageError
from llmlab.models import gguf
from llmlab.models.identity import MANIFEST, MODEL_FILES, WEIGHTS, digests
from llmlab.registry.checking import located
from llmlab.registry.contents import check_room, copy, open_regular, write
from llmlab.registry.record import Facts, Record, canonical
from llmlab.registry.registry import Added, Registry

LABEL = "llmlab-model.json"
LABEL_LIMIT = 16 << 20  # bytes
FILES_LIMIT = 1000
BLOCK = 512  # bytes; a header is one, and a file fills whole ones
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}")
# A tar's header has 100 bytes for a name.


@dataclass(frozen=True)
class File:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Label:
    """The first file of an archive: what the model is, and what follows."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    format: Literal[1]
    id: str
    name: str
    created: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    facts: Facts
    files: Mapping[str, File]
    evaluations: tuple[Mapping[str, Any], ...] = ()


_LABEL = TypeAdapter(Label)


def export_model(registry: Registry, record: Record, target: Path) -> int:
    """Write a model, verified, to a new file. Returns its size in bytes.

    Raises:
        UsageError: the file exists, or the model is damaged or not on this disk.
        EnvironmentFailure: it cannot be written.
    """
    there = located(record, registry.contents)
    if target.exists():
        raise UsageError(f"{target} exists already", fix="name another file, or remove it")
    files = {
        file.name: File(digest, file.stat().st_size)
        for file, digest in zip(there, digests(there).values(), strict=True)
    }
    label = Label(
        1, record.id, record.name, record.created, record.facts, files, record.evaluations
    )
    content = canonical(asdict(label)).encode()
    try:
        check_room(target.absolute().parent, sum(file.bytes for file in files.values()))
        handle, part = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.absolute().parent)
    except OSError as error:
        raise EnvironmentFailure(f"{target}: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as archive:
            _put(archive, LABEL, io.BytesIO(content), len(content))
            for file in there:
                with open_regular(file.resolve()) as source:
                    _put(archive, file.name, source, files[file.name].bytes)
            archive.write(bytes(2 * BLOCK))
            archive.flush()
            os.fsync(archive.fileno())
            size = archive.tell()
        Path(part).replace(target)
    except OSError as error:
        raise EnvironmentFailure(f"{target}: {error.strerror}") from error
    finally:
        Path(part).unlink(missing_ok=True)
    return size


def any_name(_: str) -> None:
    """Every name will do."""


def import_model(
    registry: Registry, file: Path, name: str = "", *, check: Callable[[str], None] = any_name
) -> Added:
    """Register the model of an archive, once all of it is verified.

    Args:
        name: instead of the one that it had where it was exported.
        check: raises if the model cannot have its name here.

    Raises:
        UsageError: it is no archive of a model, or not what it says it is.
        EnvironmentFailure: the disk has no room for it.
    """
    try:
        archive = open_regular(file.resolve())
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    with archive:
        label = _label(archive, file)
        check(name or label.name)

        def fill(staged: Path) -> None:
            check_room(staged, sum(one.bytes for one in label.files.values()))
            for expected in sorted(label.files):
                size = label.files[expected].bytes
                _expect(archive, expected, size, file)
                write(staged / expected, archive, size)
                archive.read(-size % BLOCK)
            if archive.read(BLOCK).strip(b"\0"):
                raise UsageError(f"{file} has more in it than it announces")

        return registry.admit(
            name or label.name, replace(label.facts, source="import"), fill,
            expected=label.id, created=label.created, evaluations=label.evaluations,
        )  # fmt: skip


def _put(archive: BinaryIO, name: str, content: BinaryIO, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    archive.write(info.tobuf(tarfile.GNU_FORMAT))
    copy(content, archive, size, name)
    archive.write(bytes(-size % BLOCK))


def _label(archive: BinaryIO, file: Path) -> Label:
    info = _header(archive, file)
    if info.name != LABEL or not 0 < info.size <= LABEL_LIMIT:
        raise UsageError(f"{file} is no model: it does not begin with {LABEL}")
    content = archive.read(info.size)
    archive.read(-info.size % BLOCK)
    try:
        label = _LABEL.validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{file}: {LABEL} is wrong: {where}: {first['msg']}") from None
    try:
        canonical(asdict(label))
    except ValueError:  # pydantic takes NaN and Infinity for JSON
        raise UsageError(f"{file}: {LABEL} is wrong: it holds a number that JSON has not") from None
    _check_files(label, file)
    return label


def _check_files(label: Label, file: Path) -> None:
    patterns: tuple[str, ...] = (*MODEL_FILES, *((WEIGHTS,) if MANIFEST in label.files else ()))
    if label.facts.chats:
        patterns = (gguf.PATTERN,)
    for name in label.files:
        fits = any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        if not FILE_NAME.fullmatch(name) or not fits:
            raise UsageError(f"{file}: {name!r} is no file of a model")
    if len(label.files) > FILES_LIMIT:
        raise UsageError(f"{file} has {len(label.files)} files, and no model has so many")
    found = label.facts.id_of({name: label.files[name].sha256 for name in sorted(label.files)})
    if found != label.id:
        raise UsageError(f"{file} contradicts itself: its files make {found}, not {label.id}")


def _expect(archive: BinaryIO, name: str, size: int, file: Path) -> None:
    info = _header(archive, file)
    if (info.name, info.size) != (name, size):
        raise UsageError(
            f"{file} is not what it says it is: {info.name!r} ({info.size} bytes) is where "
            f"{name!r} ({size} bytes) should be"
        )


def _header(archive: BinaryIO, file: Path) -> tarfile.TarInfo:
    block = archive.read(BLOCK)
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, ValueError):
        raise UsageError(f"{file} is no archive of a model, or broken off") from None
    if info.type != tarfile.REGTYPE:
        raise UsageError(f"{file}: {info.name!r} is a link, a device or the like; no file")
    return info
