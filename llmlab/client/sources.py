"""Where texts come from: files, folders and standard input."""

from __future__ import annotations

import errno
import os
import shlex
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmlab.client.content import text_of
from llmlab.errors import UsageError

TEXT_SUFFIXES = (".txt", ".md", ".text")


@dataclass(frozen=True)
class Source:
    """Where a text comes from; read only when its turn comes."""

    name: str
    path: Path | None  # None: standard input

    def read(self) -> str:
        """The text.

        Raises:
            UsageError: it cannot be read, is no text, or is blank.
        """
        text = text_of(self._read(), self.name)
        if not text.strip():
            raise UsageError(f"{'stdin' if self.path is None else self.name} is empty")
        return text

    def _read(self) -> bytes:
        try:
            return self.path.read_bytes() if self.path else sys.stdin.buffer.read()
        except OSError as error:
            raise _unreadable(self.name, error) from None


def _unreadable(name: str, error: OSError) -> UsageError:
    """Who gave a text, and not the name of a file, is told where texts go."""
    if error.errno in (errno.ENOENT, errno.ENAMETOOLONG) and len(name.split()) > 1:
        begins = textwrap.shorten(name, 40, placeholder=" ...")
        return UsageError(
            f"there is no file {begins!r}",
            fix=f"to summarize a text itself: echo {shlex.quote(begins)} | llmlab summarize -",
        )
    return UsageError(f"{name} cannot be read: {error.strerror}")


def collect(inputs: Sequence[str]) -> list[Source]:
    """The sources that arguments name: files, folders (their text files), ``-``.

    A folder's hidden files and folders are left out, and so is a file that is named already.

    Raises:
        UsageError: a folder without text files.
    """
    seen = {_file(Path(one)) for one in inputs}
    sources: list[Source] = []
    for one in inputs:
        path = Path(one)
        if one == "-":
            sources.append(Source("-", None))
        elif _is_folder(path):
            found = list(_text_files(path))
            if not found:
                raise UsageError(f"{one} holds no text files ({', '.join(TEXT_SUFFIXES)})")
            new: list[Path] = []
            for file in sorted(found, key=lambda file: (file.is_symlink(), file)):
                at = _file(file)
                if at and at not in seen:
                    seen.add(at)
                    new.append(file)
            sources += [Source(str(file), file) for file in sorted(new)]
        else:
            sources.append(Source(one, path))
    return sources


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a text that is given in place of a name may be too long for one
        return False


def _text_files(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = (name for name in folders if not name.startswith("."))
        for name in files:
            if not name.startswith(".") and name.lower().endswith(TEXT_SUFFIXES):
                yield Path(root, name)


def _file(path: Path) -> tuple[int, int] | None:
    """Which file a name leads to; None where there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino) if path.is_file() else None
