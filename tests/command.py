"""The command as a process of its own, forked from one that has its modules already.

What it does, prints and ends with is as of ``python -m llmlab``, but for half a second less for
each of some thousand runs. Where an interpreter's own start matters (encodings, warnings, how
long it takes), tests start one.
"""

from __future__ import annotations

import importlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import NoReturn

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
    from tests import warm

    if any(name.startswith(OF_INTERPRETER) and os.environ.get(name) != env[name] for name in env):
        return subprocess.run(
            [sys.executable, "-m", "llmlab", *arguments], cwd=cwd, env=dict(env), input=stdin,
            text=True, capture_output=True, timeout=timeout,
        )  # fmt: skip
    if arguments[:1] in [(one,) for one in warm.HEAVY] and warm.is_announced(env):
        return warm.run(
            "llmlab.cli", *arguments, cwd=cwd, env=env, stdin=stdin or "", timeout=timeout
        )  # fmt: skip
    with files(stdin or "") as three:
        process = _context.Process(
            target=exit_with, args=("llmlab.cli", arguments, str(cwd), dict(env), three.names)
        )
        process.start()
        process.join(timeout)
        late = process.is_alive()
        if late:
            process.kill()
            process.join()
        out, err = three.said()
        if late:
            raise TimeoutError(f"llmlab {arguments}: not within {timeout:g} s\n{out}{err}")
    code = process.exitcode
    process.close()
    assert code is not None
    return subprocess.CompletedProcess(["llmlab", *arguments], code, out, err)


@dataclass(frozen=True)
class Files:
    """In the place of standard input, output and error."""

    names: list[str]

    def said(self) -> tuple[str, str]:
        """What was printed on standard output and error."""
        out, err = (
            Path(file).read_text() if Path(file).exists() else "" for file in self.names[1:]
        )
        return out, err


@contextmanager
def files(stdin: str) -> Iterator[Files]:
    """They are there while the body runs."""
    with tempfile.TemporaryDirectory(prefix="llmlab-run-") as folder:
        found = Files([os.path.join(folder, name) for name in ("in", "out", "err")])
        Path(found.names[0]).write_text(stdin)
        yield found


def exit_with(
    module: str, arguments: Sequence[str], cwd: str, env: dict[str, str], files: Sequence[str]
) -> NoReturn:
    """Be ``python -m MODULE`` from now on."""
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
    sys.argv = [module.partition(".")[0], *arguments]
    from llmlab.models import convert
    from tests import warm

    if warm.is_announced(env):
        convert.run = warm.convert  # type: ignore[assignment]
    try:
        sys.exit(importlib.import_module(module).main())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
