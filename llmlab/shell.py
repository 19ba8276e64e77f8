"""The one place where programs are run. Builders make argument lists; this executes them."""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmlab.errors import EnvironmentFailure


@dataclass(frozen=True)
class Result:
    """What a program answered."""

    code: int
    output: str  # stdout and stderr, interleaved


def run(
    command: Sequence[str],
    *,
    timeout: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> Result:
    """Run a program to its end.

    Raises:
        EnvironmentFailure: it does not exist, cannot be run, or took longer than ``timeout`` s.
    """
    try:
        done = subprocess.run(
            list(command), timeout=timeout, cwd=cwd, env=env,
            **({"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
    except OSError as error:
        raise EnvironmentFailure(f"{command[0]} cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise EnvironmentFailure(
            f"no answer within {timeout:g} s from: {shlex.join(command)}"
        ) from None
    return Result(done.returncode, done.stdout)


class Dialogue:
    """A program that answers each line with a line. It ends with whoever has started it, since its
    standard input does."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start it.

        Raises:
            EnvironmentFailure: it does not exist or cannot be run.
        """
        try:
            self._process = subprocess.Popen(
                list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, bufsize=0,
            )  # fmt: skip
        except OSError as error:
            raise EnvironmentFailure(f"{command[0]} cannot be run: {error.strerror}") from None
        self._rest = b""

    @property
    def is_over(self) -> bool:
        return self._process.poll() is not None

    def ask(self, line: str, *, timeout: float) -> str:
        """Its answer, without the line feed.

        Raises:
            EnvironmentFailure: it has ended, or took longer than ``timeout`` s. Then it is over.
        """
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(line.encode() + b"\n")
            return self._answer(self._process.stdout.fileno(), time.monotonic() + timeout)
        except (OSError, TimeoutError) as error:
            self.close()
            raise EnvironmentFailure(str(error)) from None

    def _answer(self, fd: int, deadline: float) -> str:
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([fd], [], [], left)[0]:
                raise TimeoutError("no answer in time")
            if not (more := os.read(fd, 1 << 16)):
                raise BrokenPipeError(f"it ended: {self._rest.decode(errors='replace').strip()}")
            self._rest += more
        answer, _, self._rest = self._rest.partition(b"\n")
        return answer.decode(errors="replace")

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.kill()
        self._process.wait()


# What a supervised process inherits. Everything else, tokens above all, stays out.
_KEPT = {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "LOGNAME", "VIRTUAL_ENV", "PYTHONPATH",
         "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SSL_CERT_FILE", "DOCKER_HOST", "DOCKER_CONTEXT",
         "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"}  # fmt: skip
_KEPT_PREFIXES = ("LC_", "OMP_", "MKL_", "CUDA_", "TORCH_", "CT2_", "MALLOC_", "GLIBC_TUNABLES")


def clean_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The part of the environment that a long-running process of the lab may see."""
    source = os.environ if environ is None else environ
    return {
        name: value
        for name, value in source.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }


def last_lines(file: Path, count: int = 12) -> str:
    """The end of a log, for an error that has to show it; "" if there is none."""
    try:
        with file.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - 16_384))
            text = log.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-count:])
