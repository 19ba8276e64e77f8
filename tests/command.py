"""The command as a process of its own, forked from one that has its modules already.

What it does, prints and ends with is as of ``python -m llmlab``, but for half a second less for
each of some thousand runs. Where an interpreter's own start matters (encodings, warnings, how
long it takes), tests start one.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing import get_context
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
PRELOADED = [
    ".".join(file.relative_to(_PACKAGE).with_suffix("").parts)
    for file in sorted(_PACKAGE.glob("llmlab/cli/**/[a-z]*.py"))
]
OF_INTERPRETER = ("PYTHON", "LANG", "LC_")  # variables that it reads as it starts

_context = get_context("forkserver")
_context.set_forkserver_preload(["tests.command", *PRELOADED])


def run(
    *arguments: str, cwd: Path, env: Mapping[str, str], stdin: str | None, timeout: float
) -> subprocess.CompletedProcess[str]:
    """As ``subprocess.run`` has it, with what it printed.

    Raises:
        TimeoutError: it took longer; it is ended.
    """
    if any(name.startswith(OF_INTERPRETER) and os.environ.get(name) != env[name] for name in env):
        return subprocess.run(
            [sys.executable, "-m", "llmlab", *arguments], cwd=cwd, env=dict(env), input=stdin,
            text=True, capture_output=True, timeout=timeout,
        )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="llmlab-run-") as folder:
        files = [os.path.join(folder, name) for name in ("in", "out", "err")]
        Path(files[0]).write_text(stdin or "")
        process = _context.Process(target=_main, args=(arguments, str(cwd), dict(env), files))
        process.start()
        process.join(timeout)
        late = process.is_alive()
        if late:
            process.kill()
            process.join()
        out, err = (Path(file).read_text() if Path(file).exists() else "" for file in files[1:])
        if late:
            raise TimeoutError(f"llmlab {arguments}: not within {timeout:g} s\n{out}{err}")
    code = process.exitcode
    process.close()
    assert code is not None
    return subprocess.CompletedProcess(["llmlab", *arguments], code, out, err)


def _main(arguments: tuple[str, ...], cwd: str, env: dict[str, str], files: list[str]) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for fd, (file, flags) in enumerate(
        zip(files, (os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT), strict=True)
    ):
        opened = os.open(file, flags, 0o600)
        os.dup2(opened, fd)
        os.close(opened)
    # multiprocessing reads no standard input, and has opened another one in its place.
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")  # type: ignore[arg-type]
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="utf-8")  # type: ignore[arg-type]
    sys.stderr = io.TextIOWrapper(
        io.FileIO(2, "w", closefd=False),
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )  # type: ignore[arg-type]
    sys.argv = ["llmlab", *arguments]
    from llmlab.cli import main

    try:
        sys.exit(main())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
