"""What budgets have counted, across an end of the lab.

NGINX's workers write it into a folder of their own, a second after it changes. That is below /tmp,
where they can reach it, and gone with the lab and with the machine; so there is a copy in the lab's
state, which is put there again before NGINX starts.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from llmlab.files import write_atomically
from llmlab.lab import Lab, private_folder

MOST = 64 << 20  # bytes; the shared memory is smaller


def keep(lab: Lab) -> None:
    """Copy what is there.

    Raises:
        OSError: it cannot be written.
    """
    for file in lab.counts_folder.glob("*.json"):
        if text := _read(file):
            write_atomically(private_folder(_kept(lab)) / file.name, text)


def put_back(lab: Lab, folder: Path) -> None:
    """Into a folder that was just made, and that nobody else can write to yet."""
    for file in _kept(lab).glob("*.json"):
        write_atomically(folder / file.name, file.read_text(encoding="utf-8"))


def _kept(lab: Lab) -> Path:
    return lab.state / "counts"


def _read(file: Path) -> str:
    """A plain file of no great size: who writes it may be less trusted than who reads it."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, encoding="utf-8") as opened:
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_size <= MOST:
                return opened.read()
    return ""
