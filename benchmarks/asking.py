"""Has the load generator for chat do what is asked, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

from benchmarks.systems import TOP, Failed
from benchmarks.talk import Answer, Task

PATIENCE = 240.0  # seconds


def ask(task: Task) -> list[Answer]:
    """Have a process of its own do it.

    Raises:
        Failed: it cannot.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.talk"], cwd=TOP, input=json.dumps(asdict(task)),
            text=True, capture_output=True, timeout=PATIENCE,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Failed(f"port {task.port}: not all is answered within {PATIENCE:g} s") from None
    if done.returncode:
        raise Failed(f"the load generator: {done.stderr[-2000:]}")
    return [Answer(**one) for one in json.loads(done.stdout)]
