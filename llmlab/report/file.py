"""Where a report goes."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from llmlab.errors import EnvironmentFailure, UsageError
from llmlab.files import write_atomically

HTML = (".html", ".htm")


def check_place(report: Path, option: str) -> None:
    """Whether a report can be written there: before the models work for minutes.

    Args:
        option: that named it, for the error.

    Raises:
        UsageError: it is no name of a page, or its folder is not there or not writable.
    """
    if report.suffix.lower() not in HTML:
        raise UsageError(f"{option} {report} is no name of a page", fix=f"{option} report.html")
    folder = report.absolute().parent
    if not folder.is_dir():
        parent = shlex.quote(str(report.parent))
        raise UsageError(f"{option}: there is no folder {parent}", fix=f"mkdir -p {parent}")
    if report.is_dir() or not os.access(folder, os.W_OK):
        raise UsageError(
            f"{option} {report} cannot be written", fix="name a file in a folder of yours"
        )


def write(report: Path, page: str, *, private: bool = False) -> None:
    """
    Args:
        private: it quotes what clients have asked: nobody else may read it, whatever the umask.

    Raises:
        EnvironmentFailure: it cannot be written.
    """
    mode = 0o600 if private else 0o666 & ~_umask()
    try:
        # A name on the page need not be UTF-8.
        write_atomically(report, page.encode(errors="backslashreplace"), mode)
    except OSError as error:
        raise EnvironmentFailure(
            f"{report} cannot be written: {error.strerror}",
            fix="make room, or name a file in a folder of yours",
        ) from None


def _umask() -> int:
    """What the person who asked for the page lets nobody else do. It cannot be read without being
    set."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
