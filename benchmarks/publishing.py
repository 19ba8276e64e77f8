"""A run of a benchmark from its folder to its pages."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.systems import Failed
from llmlab.files import write_atomically

Document = dict[str, Any]


def publish(
    name: str, to: Path, measure: Callable[[Path], Document], markdown: Callable[[Document], str]
) -> None:
    """Measure in a folder that is gone afterwards, and write NAME.md and name.json.

    Args:
        to: the folder for them.
    """
    # So that a run that is ended ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # Short, for the paths of unix sockets; private, for a lab's keys.
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir="/tmp"))
    try:
        document = measure(folder)
    except Failed as error:
        sys.exit(f"Error: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    to.mkdir(parents=True, exist_ok=True)
    for file, content in {
        f"{name}.json": json.dumps(document, indent=1) + "\n",
        f"{name.upper()}.md": markdown(document),
    }.items():
        write_atomically(to / file, content)
        print(to / file)
