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
from pathlib import Path
from typing import Any

from llmlab.engines import probe
from llmlab.engines.budget_counts import FILE, read
from llmlab.errors import LlmlabError
from llmlab.files import write_atomically
from llmlab.lab import Lab, private_folder

PATIENCE = 2.0  # seconds


def keep(lab: Lab) -> None:
    """Copy what NGINX has written since.

    Raises:
        OSError: it cannot be written.
    """
    written, kept = _changed(lab.counts_folder / FILE), _changed(_kept(lab))
    if written > kept:
        _keep(lab, read(lab.counts_folder / FILE))
        with contextlib.suppress(FileNotFoundError):
            os.utime(_kept(lab), ns=(written, written))


def keep_now(lab: Lab) -> None:
    """Copy what is counted now. All workers wait while NGINX puts that together.

    Raises:
        OSError: it cannot be written.
    """
    if now := _asked(lab):
        _keep(lab, now)
    else:
        keep(lab)


def put_back(lab: Lab, folder: Path) -> None:
    """Into a folder that was just made, and that nobody else can write to yet."""
    with contextlib.suppress(FileNotFoundError):
        write_atomically(folder / FILE, _kept(lab).read_text(encoding="utf-8"))


def _kept(lab: Lab) -> Path:
    return lab.state / "counts" / FILE


def _keep(lab: Lab, text: str) -> None:
    kept = _kept(lab)
    if (now := _values(text)) and now != _values(read(kept)):
        write_atomically(private_folder(kept.parent) / FILE, text)


def _changed(file: Path) -> int:
    """When, in nanoseconds; 0 for one that is not there."""
    with contextlib.suppress(OSError):
        return file.stat(follow_symlinks=False).st_mtime_ns
    return 0


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
