"""What budgets have counted, across an end of the lab.

NGINX's workers write it into a folder of their own, a second after it changes: one that is killed
has it again when it starts. That folder is below /tmp, where they can reach it, and gone with the
lab and with the machine; so there is a copy in the lab's state, which is put there before NGINX
starts.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from pathlib import Path
from typing import Any

from llmlab.engines import probe
from llmlab.errors import LlmlabError
from llmlab.files import write_atomically
from llmlab.lab import Lab, private_folder

FILE = "counts.json"  # of requests that were under way nothing is left to be settled
PATIENCE = 2.0  # seconds
MOST = 64 << 20  # bytes; the shared memory is smaller


def keep(lab: Lab) -> None:
    """Copy what is counted now, or, where no gateway answers, what one has written last.

    Raises:
        OSError: it cannot be written.
    """
    text, kept = _asked(lab) or _read(lab.counts_folder / FILE), _kept(lab) / FILE
    if (now := _values(text)) and now != _values(_read(kept)):
        write_atomically(private_folder(kept.parent) / FILE, text)


def put_back(lab: Lab, folder: Path) -> None:
    """Into a folder that was just made, and that nobody else can write to yet."""
    with contextlib.suppress(FileNotFoundError):
        text = (_kept(lab) / FILE).read_text(encoding="utf-8")
        write_atomically(folder / FILE, text)


def _kept(lab: Lab) -> Path:
    return lab.state / "counts"


def _values(text: str) -> dict[str, Any]:
    """{key: what is counted}. When it is forgotten differs by a millisecond each time."""
    with contextlib.suppress(ValueError, AttributeError, TypeError):
        return {key: one["value"] for key, one in json.loads(text).items()}
    return {}


def _asked(lab: Lab) -> str:
    with contextlib.suppress(LlmlabError):
        code, text = probe.ask(
            lab.settlements_socket, "/counts", method="GET", body=b"", timeout=PATIENCE, headers={}
        )
        return text.decode() if code == 200 else ""
    return ""


def _read(file: Path) -> str:
    """A plain file of no great size: who writes it may be less trusted than who reads it."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, encoding="utf-8") as opened:
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_size <= MOST:
                return opened.read()
    return ""
