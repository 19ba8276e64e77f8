"""Models on a node: files under the SHA-256 of their content, which is looked at as they land. All
replicas of a node share them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import threading
import time
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from llmlab.lab import private_folder

DIGEST = re.compile(r"[0-9a-f]{64}")
KEPT = 14 * 86_400.0  # seconds that a file stays that nobody has used


class Shelf:
    """
    Args:
        folder: for its owner only.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = private_folder(folder)
        self._lock = threading.Lock()
        self._mark = secrets.token_hex(8)  # others of this folder may be on other machines
        self._hashes: dict[str, tuple[int, hashlib._Hash]] = {}

    def has(self, digest: str) -> bool:
        return self._file(digest).exists()

    def put(self, digest: str, offset: int, data: bytes, last: bool) -> None:
        """A part of a file; parts come in order.

        Raises:
            ValueError: the file is not the one that its digest says, or a part is missing.
        """
        file = self._file(digest)
        part = file.with_name(f".{digest}.{self._mark}.part")
        with self._lock:
            at, hashed = self._hashes.pop(digest, (0, hashlib.sha256())) if offset else (
                0, hashlib.sha256())  # fmt: skip
            if at != offset:
                raise ValueError(f"{digest}: a part begins at {offset}, and {at} bytes are there")
            hashed.update(data)
            try:
                self._append(part, data, first=not offset)
                if last and hashed.hexdigest() != digest:
                    raise ValueError(f"{digest}: what came is {hashed.hexdigest()}")
                if last:
                    _keep(part, file)
                else:
                    self._hashes[digest] = offset + len(data), hashed
            except BaseException:  # such as a full disk: it begins anew
                part.unlink(missing_ok=True)
                raise

    def _append(self, part: Path, data: bytes, *, first: bool) -> None:
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if first else os.O_APPEND)
        with os.fdopen(os.open(part, flags, 0o600), "wb") as written:
            written.write(data)

    def lay_out(self, target: Path, files: Mapping[str, str]) -> Path:
        """A folder with these, under their names.

        Args:
            files: {path below it: digest}.

        Returns:
            The folder.

        Raises:
            ValueError: a name leads out of it, or a file is not there.
        """
        private_folder(target)
        for name, digest in files.items():
            below = PurePosixPath(name)
            if below.is_absolute() or ".." in below.parts:
                raise ValueError(f"{name!r} is no name below a model's folder")
            if not self.has(digest):
                raise ValueError(f"{name}: {digest} is not on this node")
            place = target / below
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            place.unlink(missing_ok=True)  # of a try before
            place.symlink_to(self._file(digest))
            os.utime(self._file(digest))
        return target

    def tidy(self, now: float | None = None, used: Collection[Path] = ()) -> None:
        """Remove what was not laid out for long, and parts that nobody goes on with.

        Args:
            used: files that stay, whenever they were laid out.
        """
        before = (time.time() if now is None else now) - KEPT
        for file in self._folder.iterdir():
            with contextlib.suppress(OSError):
                if file.stat().st_mtime < before and file not in used:
                    file.unlink()

    def _file(self, digest: str) -> Path:
        if not DIGEST.fullmatch(digest):
            raise ValueError(f"{digest!r} is no SHA-256")
        return self._folder / digest


def _keep(part: Path, file: Path) -> None:
    """It is on the disk before it has its name: nobody looks at its content again."""
    with part.open("rb") as written:
        os.fsync(written.fileno())
    part.chmod(0o400)
    part.replace(file)


def used_by(runs: Path) -> set[Path]:
    """The files that models are made of which are laid out below this folder. Other replicas may
    end meanwhile, and theirs are gone then."""
    found: set[Path] = set()
    for run in runs.iterdir():
        for folder, _, names in os.walk(run / "model"):  # which passes over what is gone
            for name in names:
                with contextlib.suppress(OSError):
                    found.add(Path(folder, name).readlink())
    return found
