"""Files of a lab's certificates: read, replaced where they are others, and put back."""

from __future__ import annotations

import contextlib
from pathlib import Path

from llmlab.errors import EnvironmentFailure, unreadable
from llmlab.files import write_atomically


def content(file: Path) -> bytes | None:
    """None for no file.

    Raises:
        EnvironmentFailure: it cannot be read.
    """
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvironmentFailure(
            f"{file} cannot be read: {unreadable(error)}", fix=f"ls -l {file.parent}"
        ) from None


def restore(file: Path, before: bytes | None) -> None:
    """Have it as ``content`` has seen it."""
    if before is None:
        file.unlink(missing_ok=True)
    elif content(file) != before:
        write_atomically(file, before)


def write(file: Path, text: str) -> None:
    """ "" is no file."""
    if not text:
        file.unlink(missing_ok=True)
        return
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if file.read_text(encoding="utf-8") == text:
            return
    write_atomically(file, text)
