"""Folders below /tmp that are somebody's for as long as a process runs, and nobody's afterwards.

Whoever is killed removes nothing: keys, sockets and logs would stay for ever. A lock ends with the
process that holds it. It also says to systemd-tmpfiles(8) that a folder is not old.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from pathlib import Path

from llmlab.files import locked
from llmlab.lab import private_folder

LOCK = "lock"


def hold(base: Path, name: str, mode: int = 0o700) -> tuple[Path, int]:
    """A folder below ``base``, and the handle by which it is held: until that is closed here, and
    in every process that was given it. Those that nobody holds any more are removed.

    Raises:
        BlockingIOError: somebody holds it.
        EnvironmentFailure: it is another user's.
    """
    with locked(base / LOCK):
        remove_left(base)
        folder = private_folder(base / name, mode)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(handle)
            raise
        return folder, handle


def remove_left(base: Path) -> None:
    """Remove the folders that nobody holds. Who calls it sees to it that none is just made."""
    for folder in base.iterdir():
        with contextlib.suppress(OSError):  # no folder, or held
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)
