"""Models on a node: files under the SHA-256 of their content, which is looked at as they land. All
replicas of a node share them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
import time
from collections.abc import Mapping
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
        self._hashes: dict[str, tuple[int, hashlib._Hash]] = {}

    def has(self, digest: str) -> bool:
        return self._file(digest).exists()

    def put(self, digest: str, offset: int, data: bytes, last: bool) -> None:
        """A part of a file; parts come in order.

        Raises:
            ValueError: the file is not the one that its digest says, or a part is missing.
        """
        file = self._file(digest)
        part = file.with_name(f".{digest}.{os.getpid()}.part")
        with self._lock:
            at, hashed = self._hashes.pop(digest, (0, hashlib.sha256())) if offset else (
                0, hashlib.sha256())  # fmt: skip
            if at != offset:
                raise ValueError(f"{digest}: a part begins at {offset}, and {at} bytes are there")
            with part.open("ab" if offset else "wb") as written:
                if not offset:
                    os.fchmod(written.fileno(), 0o400)
                written.write(data)
            hashed.update(data)
            if not last:
                self._hashes[digest] = offset + len(data), hashed
                return
            if hashed.hexdigest() != digest:
                part.unlink()
                raise ValueError(f"{digest}: what came is {hashed.hexdigest()}")
            part.replace(file)

    def lay_out(self, target: Path, files: Mapping[str, str]) -> Path:
        """A folder with these, under their names.

        Args:
            files: {path below it: digest}; "" names a file that stands alone.

        Returns:
            The folder, or that file.

        Raises:
            ValueError: a name leads out of it, or a file is not there.
        """
        private_folder(target)
        for name, digest in files.items():
            below = PurePosixPath(name or "model")
            if below.is_absolute() or ".." in below.parts:
                raise ValueError(f"{name!r} is no name below a model's folder")
            if not self.has(digest):
                raise ValueError(f"{name}: {digest} is not on this node")
            place = target / below
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            place.symlink_to(self._file(digest))
            os.utime(self._file(digest))
        return target / "model" if list(files) == [""] else target

    def tidy(self, now: float | None = None) -> None:
        """Remove what was not laid out for long, and parts that nobody goes on with."""
        before = (time.time() if now is None else now) - KEPT
        for file in self._folder.iterdir():
            with contextlib.suppress(OSError):
                if file.stat().st_mtime < before:
                    file.unlink()

    def _file(self, digest: str) -> Path:
        if not DIGEST.fullmatch(digest):
            raise ValueError(f"{digest!r} is no SHA-256")
        return self._folder / digest
