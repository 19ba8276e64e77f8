"""Reads what processes have written of a recording. They may be in containers, whose links and
pipes nobody here is to follow or to wait for, and whose files may be larger than any disk."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from llmlab.errors import LlmlabError
from llmlab.recording.order import LINES, WRITTEN

LARGEST_COUNTS = 65_536  # bytes
LONGEST_LINE = 16_777_216  # bytes of a record as it is sealed, which has 6 MB at most
PIECE = 1_048_576  # bytes


def files_in(folder: Path, ending: str) -> list[Path]:
    """The plain files that processes have written of the recording in this folder."""
    found = []
    for one in sorted((folder / WRITTEN).glob(f"*{ending}")):
        with suppress(FileNotFoundError):
            if stat.S_ISREG(one.lstat().st_mode):
                found.append(one)
    return found


@contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """Raises OSError: it is gone, or is no plain file any more."""
    handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as content:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "is no plain file", str(file))
        yield content


def lines(file: Path, most: int) -> Iterator[bytes]:
    """One after the other; the last one is none if a process was killed as it wrote.

    Args:
        most: bytes that the recording may have.

    Raises:
        OSError: it cannot be read.
        LlmlabError: no API has written so much.
    """
    with opened(file) as content:
        read = 0
        while line := content.readline(LONGEST_LINE + 1):
            read += len(line)
            if read > most or len(line) > LONGEST_LINE:
                raise LlmlabError(
                    f"{file} is larger than this lab's APIs have made it, or has no lines",
                    fix=f"rm {file}",
                )
            if line.endswith(b"\n"):
                yield line


def count_lines(folder: Path, most: int) -> int:
    """Of all of its files, as far as ``most`` bytes go."""
    found = 0
    for file in files_in(folder, LINES):
        with suppress(OSError), opened(file) as content:
            while most > 0 and (piece := content.read(min(PIECE, most))):
                found += piece.count(b"\n")
                most -= len(piece)
    return found
