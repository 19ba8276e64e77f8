"""Reading log files: the last lines of several, merged, and what is appended to them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from llmlab.shell import last_lines

POLL = 0.25


def lines_of(folder: Path, *, follow: bool, count: int, only: str) -> Iterator[str]:
    """``name | line`` for the last ``count`` lines of every log, then, to follow, what comes."""
    logs = sorted(file for file in folder.glob("*.log") if only in file.stem)
    for log in logs:
        for line in last_lines(log, count).splitlines():
            yield f"{log.stem} | {line}"
    if follow:
        yield from _appended(logs)


def _appended(logs: list[Path]) -> Iterator[str]:
    """Lines as they are written; a log that was rotated is opened anew."""
    open_files: dict[Path, IO[str]] = {}
    for log in logs:
        open_files[log] = log.open(errors="replace")
        open_files[log].seek(0, os.SEEK_END)
    while True:
        quiet = True
        for log, file in open_files.items():
            for line in file:
                quiet = False
                yield f"{log.stem} | {line.rstrip()}"
            if log.exists() and log.stat().st_ino != _inode(file):
                file.close()
                open_files[log] = log.open(errors="replace")
        if quiet:
            time.sleep(POLL)


def _inode(file: IO[str]) -> int:
    return os.fstat(file.fileno()).st_ino
