"""Work on a registry, or on a rollout, in processes that are killed: python -m tests.killable

It reads one job a line on stdin, as JSON: {"do", "arguments", "seconds", "line", "inside"}. Each
runs in a forked process, so that nothing has to be imported again. The process is killed after
so many seconds, or, to be exact, when it comes to a line of the packages ``inside`` (default:
llmlab.registry) for the so-manieth time. The answer is a line {"finished", "lines"}.
With the argument `tune`, what that needs is imported beforehand too.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from llmlab.config import Model
from llmlab.lab import Lab
from llmlab.models import pull
from llmlab.registry import Facts, Registry
from llmlab.registry.archive import export_model, import_model
from llmlab.registry.pulled import record_pulled
from tests.test_models import REVISION

TINY = Model(runtime="transformers", source="hub:tiny/t5", revision=REVISION)


def registry(root: str) -> Registry:
    return Registry(Lab(Path(root)))


def do_add(root: str, folder: str, name: str) -> None:
    registry(root).add(Path(folder), name, Facts("path"))


def do_tag(root: str, reference: str, alias: str) -> None:
    registry(root).tag(reference, alias, "because")


def do_import(root: str, file: str, name: str) -> None:
    import_model(registry(root), Path(file), name)


def do_export(root: str, reference: str, file: str) -> None:
    ours = registry(root)
    export_model(ours, ours.get(reference), Path(file))


def do_remove(root: str, reference: str) -> None:
    registry(root).remove(reference, force=True)


def do_pull(root: str, name: str) -> None:
    folder = pull(name, TINY, Path(root), say=lambda _: None)
    assert folder
    record_pulled(registry(root), name, TINY, folder)


def do_roll_out(root: str, log: str) -> None:
    from tests.rollouts import drive

    drive(Path(root), Path(log))


def do_tune(root: str, data: str, name: str) -> None:
    from llmlab.config import Config
    from llmlab.registry.catalogue import Catalogue
    from llmlab.tune import Request
    from llmlab.tune.tune import tune

    request = Request("scratch:tiny", Path(data), name, epochs=3)
    tune(Lab(Path(root)), Catalogue(Config(), registry(root)), request)


def watched(line: int, written: int, inside: tuple[str, ...]) -> Callable[..., Any]:
    """Count the lines of these packages that are run; be killed at one of them, if any."""
    seen = 0
    ours = functools.cache(lambda file: any(package in file for package in inside))

    def trace(frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        nonlocal seen
        if not ours(frame.f_code.co_filename):  # this is asked at every call of anything
            return None
        if event == "line":
            seen += 1
            if seen == line:
                os.kill(os.getpid(), signal.SIGKILL)
            if line == 0:
                os.pwrite(written, seen.to_bytes(4, "big"), 0)
        return trace

    return trace


def run(job: dict[str, Any]) -> dict[str, Any]:
    counted = os.memfd_create("lines") if hasattr(os, "memfd_create") else os.open(
        "/dev/null", os.O_RDWR
    )  # fmt: skip
    done, inside = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(done)
        if job.get("line") is not None:
            inside = tuple(job.get("inside", ["llmlab/registry"]))
            sys.settrace(watched(job["line"], counted, inside))
        globals()[f"do_{job['do']}"](*job["arguments"])
        sys.settrace(None)
        os.write(inside, b"1")
        os._exit(0)
    os.close(inside)
    select.select([done], [], [], job.get("seconds", 60))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    finished = os.read(done, 1) == b"1"
    os.close(done)
    lines = int.from_bytes(os.pread(counted, 4, 0), "big")
    os.close(counted)
    return {"finished": finished, "lines": lines}


if __name__ == "__main__":
    if "tune" in sys.argv:
        for module in ("llmlab.tune.tune", "transformers.trainer_seq2seq",
                       "transformers.models.t5.modeling_t5"):  # fmt: skip
            importlib.import_module(module)
    for text in sys.stdin:
        print(json.dumps(run(json.loads(text))), flush=True)
