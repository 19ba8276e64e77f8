"""Reading a log that grows and is rotated (NAME, NAME.1, NAME.2 ...), each line once."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from llmlab.engines.local.supervisor import LOG_BACKUPS
from llmlab.errors import UsageError

HEAD = 256  # bytes by which a file is known again: its first line has an id and a time
TRIES = 20  # a rotation takes microseconds


def lines_since(log: Path, cursor: str) -> tuple[list[str], str]:
    """Whole lines that were written since, and the next cursor.

    Args:
        cursor: what the call before returned; "" for the end, "0" for the oldest line there is.

    Raises:
        UsageError: it is no cursor.
    """
    with _opened(log) as files:
        if not files:
            return [], cursor or "0"
        if cursor == "":
            return [], _cursor(files[-1], _end_of_lines(files[-1]))
        start, offset = (0, 0) if cursor == "0" else _place(files, cursor)
        lines: list[str] = []
        for file in files[start:]:
            file.seek(offset)
            whole = file.read()
            whole = whole[: whole.rfind(b"\n") + 1]
            # Not splitlines: a subject may hold U+2028, which ends no line of the log.
            lines += whole.decode(errors="replace").split("\n")[:-1]
            last, offset = offset + len(whole), 0
        return lines, _cursor(files[-1], last)


def _place(files: list[IO[bytes]], cursor: str) -> tuple[int, int]:
    """(which file, where in it) to go on; the oldest, where the cursor's was rotated away."""
    try:
        inode, offset, head = (int(part) for part in cursor.split(":"))
    except ValueError:
        raise UsageError(f"{cursor!r} is no place in the access log") from None
    for number, file in enumerate(files):
        # A new file may have the inode of one that was removed.
        known = os.fstat(file.fileno()).st_ino == inode and _size(file) >= offset
        if known and _head(file, offset) == head:
            return number, offset
    return 0, 0


def _cursor(file: IO[bytes], offset: int) -> str:
    return f"{os.fstat(file.fileno()).st_ino}:{offset}:{_head(file, offset)}"


def _head(file: IO[bytes], offset: int) -> int:
    file.seek(0)
    return zlib.crc32(file.read(min(HEAD, offset)))


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size


def _end_of_lines(file: IO[bytes]) -> int:
    """Behind the last whole line."""
    end = _size(file)
    file.seek(max(0, end - 65_536))
    tail = file.read(end - file.tell())
    return end - len(tail) + tail.rfind(b"\n") + 1


@contextmanager
def _opened(log: Path) -> Iterator[list[IO[bytes]]]:
    """All files of a log, the oldest first, as they were at one moment."""
    names = [*(Path(f"{log}.{number}") for number in range(LOG_BACKUPS, 0, -1)), log]
    for _ in range(TRIES):
        with ExitStack() as stack:
            opened = (_open(name) for name in names)
            files = [stack.enter_context(file) for file in opened if file]
            there = [found.st_ino for name in names if (found := _stat(name))]
            if [os.fstat(file.fileno()).st_ino for file in files] == there:
                yield files
                return
    raise UsageError(f"{log} is being rotated all the time")


def _open(name: Path) -> IO[bytes] | None:
    try:
        return name.open("rb")
    except FileNotFoundError:
        return None


def _stat(name: Path) -> os.stat_result | None:
    try:
        return name.stat()
    except FileNotFoundError:
        return None
