"""Reading a log that grows and is rotated (NAME, NAME.1, NAME.2 ...), each line once.

A log that was renamed may still grow: an NGINX worker that ends its last requests after a reload
writes to the file that it has opened. So a cursor holds a place in each of the files.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from llmlab.errors import UsageError
from llmlab.rotation import LOG_BACKUPS

HEAD = 256  # bytes by which a file is known again: its first line has an id and a time
TRIES = 20  # a rotation takes microseconds


def lines_since(log: Path, cursor: str, *, after: float = 0.0) -> tuple[list[str], str]:
    """Whole lines that were written since, and the next cursor.

    Args:
        cursor: what the call before returned; "" for the end, "0" for the oldest line there is.
        after: seconds since 1970; with the cursor "0", files from before are left out.

    Raises:
        UsageError: it is no cursor.
    """
    with _opened(log) as files:
        if not files:
            return [], cursor or "0"
        if cursor == "":
            return [], _cursor((file, _end_of_lines(file)) for file in files)
        if cursor == "0":  # who appends last has the last word: the newest file is never left out
            files = [one for one in files[:-1] if _changed(one) >= after] + files[-1:]
        lines: list[str] = []
        ends: list[tuple[IO[bytes], int]] = []
        for file, offset in _places(files, cursor):
            file.seek(offset)
            whole = file.read()
            whole = whole[: whole.rfind(b"\n") + 1]
            # Not splitlines: a subject may hold U+2028, which ends no line of the log.
            lines += whole.decode(errors="replace").split("\n")[:-1]
            ends.append((file, offset + len(whole)))
        return lines, _cursor(ends)


def _places(files: list[IO[bytes]], cursor: str) -> list[tuple[IO[bytes], int]]:
    """Where to go on in each file; in all of them from the start, where none is known."""
    try:
        known = [] if cursor == "0" else [_place(one) for one in cursor.split(",")]
    except ValueError:
        raise UsageError(f"{cursor!r} is no place in the access log") from None
    found = [(file, _offset(file, known)) for file in files]
    first = next((number for number, (_, offset) in enumerate(found) if offset is not None), 0)
    # What is older than all that is known was read before.
    return [(file, offset or 0) for file, offset in found[first:]]


def _place(text: str) -> tuple[int, int, int]:
    inode, offset, head = (int(part) for part in text.split(":"))
    return inode, offset, head


def _offset(file: IO[bytes], known: list[tuple[int, int, int]]) -> int | None:
    """How far a file was read; None if it was not there."""
    for inode, offset, head in known:
        # A new file may have the inode of one that was removed.
        same = os.fstat(file.fileno()).st_ino == inode and _size(file) >= offset
        if same and _head(file, offset) == head:
            return offset
    return None


def _cursor(places: Iterable[tuple[IO[bytes], int]]) -> str:
    return ",".join(
        f"{os.fstat(file.fileno()).st_ino}:{offset}:{_head(file, offset)}"
        for file, offset in places
    )


def _head(file: IO[bytes], offset: int) -> int:
    file.seek(0)
    return zlib.crc32(file.read(min(HEAD, offset)))


def _changed(file: IO[bytes]) -> float:
    return os.fstat(file.fileno()).st_mtime


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
