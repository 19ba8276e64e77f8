"""The file in which NGINX keeps what budgets have counted, whichever engine runs it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from pathlib import Path

from llmlab.bounds import MOST_COUNTS
from llmlab.lab import Lab

FILE = "counts.json"  # of requests that were under way nothing is left to be settled
LARGEST = 64 << 20  # bytes; the shared memory is smaller
CROWDED = 0.8


def file_of(lab: Lab, engine: str) -> Path:
    """Where the gateway of a lab writes its counts, a second after they change."""
    return (lab.compose_counts if engine == "compose" else lab.counts_folder) / FILE


def read(file: Path) -> str:
    """What is in a file of counts, "" for none: who writes it may be less trusted than who reads
    it."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return _content(file)
    return ""


def _content(file: Path) -> str:
    """
    Raises:
        OSError: it is no plain file of no great size, or somebody else's.
        UnicodeDecodeError: it is no text.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, encoding="utf-8") as opened:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_size <= LARGEST:
            return opened.read()
    raise OSError(errno.EINVAL, "is no plain file of no great size", str(file))


def set_aside_damaged(folder: Path) -> list[Path]:
    """NGINX does not start by a file of counts that it cannot read, such as one that a full disk
    has cut: what such a one has counted begins anew.

    Returns:
        Those that were, as they are called now.
    """
    found = []
    for file in folder.glob("*.json"):
        try:
            json.loads(_content(file) or "{}")
        except OSError:  # it is another user's, who can read it, or a pipe that nobody writes to
            continue
        except ValueError:
            found.append(file.replace(file.with_suffix(".damaged")))
    return found


def crowded(files: list[Path]) -> tuple[str, ...]:
    """A warning where the memory for counts is nearly full."""
    counted = max(read(file).count('"value"') for file in files)
    if counted < CROWDED * MOST_COUNTS:
        return ()
    return (
        f"budgets have {counted:,} counts, and the gateway has room for some {MOST_COUNTS:,}: then "
        "whoever has none is refused\nFix: fewer limits in [[budgets]], or by a claim that many "
        "share, then llmlab up",
    )
