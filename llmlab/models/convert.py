"""Converting a model for the runtime ``ctranslate2``: once, and in a process of its own.

The process gives its memory back when it is done, and nothing else has to import torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from llmlab.errors import EnvironmentFailure, ModelUnavailable
from llmlab.models import store
from llmlab.shell import Result, clean_environment, run

DEADLINE = 1800.0  # seconds; a T5-small takes 10, a model of 400 M parameters some minutes
REFUSED = 65  # sysexits.h EX_DATAERR: the last line of the output is a reason, as JSON
# It works on files that are there and verified. It has nothing to ask of a hub.
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}


def convert(
    name: str, source: Path, source_id: str, compute_type: str, say: Callable[[str], None]
) -> Path:
    """Have the converted model in the store: make it unless it is there and intact.

    Args:
        source: a folder laid out like a hub snapshot, verified.

    Raises:
        ModelUnavailable: CTranslate2 cannot run this model as transformers does.
        EnvironmentFailure: the conversion failed, or took too long.
    """
    folder = store.place(source_id, compute_type)
    with store.alone(folder):  # somebody else may just be converting it
        if store.is_intact(folder):
            return folder
        say(f"{name}: converting it to {compute_type}, once")
        with store.installing(folder, source_id, compute_type) as partial:
            result = run(
                command(source, partial, compute_type), timeout=DEADLINE,
                env=clean_environment() | OFFLINE,
            )  # fmt: skip
            _check(name, result)
    return folder


def command(source: Path, target: Path, compute_type: str) -> list[str]:
    """The argument list of the process that converts."""
    return [sys.executable, "-P", "-m", "llmlab.models.converter", str(source), str(target),
            compute_type]  # fmt: skip


def _check(name: str, result: Result) -> None:
    if result.code == 0:
        return
    last = (result.output.strip().splitlines() or [""])[-1]
    if result.code == REFUSED:
        raise ModelUnavailable(
            f"{name} cannot be run by ctranslate2 as it is by transformers: {json.loads(last)}",
            fix=f'runtime = "transformers" in [models.{name}] of configs/lab.toml, or '
            "--runtime transformers where it is registered",
        )
    tail = "\n".join(result.output.splitlines()[-12:])
    raise EnvironmentFailure(
        f"{name} was not converted: exit code {result.code}",
        fix="llmlab doctor, for memory and disk; 137 or -9 is the system's lack of memory",
        log=tail,
    )
