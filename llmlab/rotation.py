"""Logs that do not grow without end: NAME, and up to three of NAME.1 (the newest), NAME.2 ...

A log is renamed where its writer then opens a new one (NGINX, told to reload; the API does it by
itself). What a program merely prints goes to a file that it holds open for good: that is copied,
and cut back to nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from logging.handlers import RotatingFileHandler
from pathlib import Path

LOG_BYTES = 10_000_000
LOG_BACKUPS = 3


class RotatingLog(RotatingFileHandler):
    """It goes by what was written. The one that it inherits from makes every line twice: once to
    see whether it still fits."""

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802
        del record
        return self.stream is not None and self.stream.tell() >= self.maxBytes


def is_full(log: Path) -> bool:
    with contextlib.suppress(OSError):
        return log.stat().st_size >= LOG_BYTES
    return False


def rotate(log: Path) -> None:
    """Rename a log; whoever writes to it has to open it anew."""
    _make_room(log)
    log.replace(_backup(log, 1))


def copy_and_cut(log: Path) -> None:
    """For a writer that appends to what it has opened. A line that comes between both steps is
    lost."""
    _make_room(log)
    shutil.copyfile(log, _backup(log, 1))
    _backup(log, 1).chmod(0o600)
    os.truncate(log, 0)


def _make_room(log: Path) -> None:
    for number in range(LOG_BACKUPS - 1, 0, -1):
        with contextlib.suppress(FileNotFoundError):
            _backup(log, number).replace(_backup(log, number + 1))


def _backup(log: Path, number: int) -> Path:
    return Path(f"{log}.{number}")
