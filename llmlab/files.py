"""Writing files so that a reader sees the old content or the new, never a part."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from llmlab.errors import EnvironmentFailure

CANNOT_WRITE = {errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT}
POLL = 0.02  # seconds
ASKS_AFTER = 1.0  # seconds of waiting for a lock until one asks who has it


def write_atomically(path: Path, content: str | bytes, mode: int = 0o600) -> None:
    """Replace ``path`` in one step. The file has ``mode`` before it has content."""
    data = content.encode() if isinstance(content, str) else content
    with _named(path):
        _replace(path, data, mode)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """What fails is said of the file that is meant."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def _replace(path: Path, data: bytes, mode: int) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, as ``fsync`` has a file's content there."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path, *, patience: float = math.inf) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` (created if absent) against other processes.

    Args:
        patience: seconds that somebody else may hold it.

    Raises:
        EnvironmentFailure: they do, or they are stopped (Ctrl-Z) and will not let go.
    """
    with _opened(path) as file:
        if file is not None:
            _take(file, path, patience)
            with contextlib.suppress(OSError):  # a full disk
                file.truncate(0)
                file.write(str(os.getpid()))
                file.flush()
        yield


@contextmanager
def _opened(path: Path) -> Iterator[IO[str] | None]:
    """Where nothing can be written, the lock is there from before, or nobody can hold it."""
    try:
        file = path.open("a")
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        try:
            file = path.open()
        except OSError:
            yield None
            return
    with file:
        yield file


def _take(file: IO[str], path: Path, patience: float) -> None:
    start = time.monotonic()
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            waited = time.monotonic() - start
        if waited > ASKS_AFTER:
            _complain(path, waited, late=waited > patience)
        time.sleep(POLL)


def _complain(path: Path, waited: float, *, late: bool) -> None:
    import psutil

    who, pid, stopped = "another process", "", False
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        holder = psutil.Process(int(path.read_text()))
        stopped = holder.status() == psutil.STATUS_STOPPED
        pid = str(holder.pid)
        who = f"{' '.join(holder.cmdline()[-2:]) or holder.name()} (pid {pid})"
    if stopped:
        raise EnvironmentFailure(
            f"{who} is stopped in the middle of its work, and has {path.name}",
            fix=f"fg in its terminal, or kill -CONT {pid}; to end it: kill -KILL {pid}",
        )
    if late:
        raise EnvironmentFailure(
            f"{who} is at work on the same thing for {waited:.0f} s already, and has {path.name}",
            fix=f"wait for it, or end it: kill {pid}" if pid else "wait for it",
        )
