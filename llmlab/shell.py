"""The one place where programs are run. Builders make argument lists; this executes them."""

from __future__ import annotations

import os
import shlex
import subprocess
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
