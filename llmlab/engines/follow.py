"""Reading log files: the last lines of several, merged, and what is appended to them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from llmlab.errors import UsageError
from llmlab.near import hint

POLL = 0.25
BLOCK = 1 << 16  # bytes of a log that are read at once, from its end
SUPERVISOR = "supervisord"


def lines_of(folder: Path, *, follow: bool, count: int, only: str) -> Iterator[str]:
    """``name | line`` for the last ``count`` lines of every log, then, to follow, what comes."""
    there = sorted(folder.glob("*.log"))
    # What the supervisor says matters only when one asks for it.
    logs = [file for file in there if only in file.stem and (only or file.stem != SUPERVISOR)]
    if not logs:
        raise no_logs(only, [file.stem for file in there])
    for log in logs:
        for line in last_of(log, count):
            yield f"{log.stem} | {line}"
    if follow:
        yield from _appended(logs)


def last_of(log: Path, count: int) -> list[str]:
    """The last lines of a log, each of them whole. No more of it is read than they need.

    Lines end with a line feed and nothing else: a subject may hold U+2028.
    """
    blocks: list[bytes] = []
    with log.open("rb") as file:
        start, ends = file.seek(0, os.SEEK_END), 0
        while start > 0 and ends <= count:
            size = min(BLOCK, start)
            start = file.seek(start - size)
            blocks.append(file.read(size))
            ends += blocks[-1].count(b"\n")
    text = b"".join(reversed(blocks)).decode(errors="replace")
    lines = text.removesuffix("\n").split("\n") if text else []
    return lines[max(0, len(lines) - count) :]


def no_logs(only: str, names: Sequence[str]) -> UsageError:
    """That there is no log of what was asked for; ``names`` are those that there are."""
    if not names:
        return UsageError("there are no logs: nothing of this lab was started yet", fix="llmlab up")
    return UsageError(
        f"no log has {only!r} in its name; logs: {', '.join(names)}{hint(only, names)}",
        fix=f"llmlab logs {names[0]}",
    )


def readable(line: str) -> str:
    """A log line for an error message: of a JSON line what it says, and the error's last line."""
    try:
        entry = json.loads(line)
        said = [entry["message"], *entry.get("error", "").strip().splitlines()[-1:]]
    except (ValueError, KeyError, TypeError, AttributeError):
        return line
    return ": ".join(said)


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


class Appended:
    """What is appended to a log from now on."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._seen = log.stat().st_size if log.exists() else 0

    def lines(self) -> list[str]:
        """All of it, as far as it was written."""
        try:
            with self._log.open("rb") as file:
                file.seek(self._seen if os.fstat(file.fileno()).st_size >= self._seen else 0)
                return file.read().decode(errors="replace").splitlines()
        except OSError:
            return []


def _inode(file: IO[str]) -> int:
    return os.fstat(file.fileno()).st_ino
