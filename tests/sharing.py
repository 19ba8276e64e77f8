"""What all test processes of a run share: made once, by whichever needs it first."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def once(folders: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder of that name, made by ``make`` while everybody else who needs it waits.

    It is for reading: other processes have it too.
    """
    base = folders.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # each worker has a folder of its own within the run's
    folder, made = base / "shared" / name, base / "shared" / f"{name}.made"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of somebody who failed half-way
            folder.mkdir()
            make(folder)
            made.touch()
    return folder
