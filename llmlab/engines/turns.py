"""Taking turns. Whoever changes a lab's processes does it alone, and so does who moves its
gateway. The second turn is short: routes can be taken back while a deployment starts or drains.

A turn may be taken again by the thread that has it. Who needs both takes that of the processes
first.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmlab.files import locked
from llmlab.lab import Lab, private_folder

# Seconds: models are loaded, and last requests are ended, by one who has a turn.
PATIENCE = 600.0
_held: set[tuple[int, Path]] = set()


@contextmanager
def processes_turn(lab: Lab) -> Iterator[None]:
    """Be the only one who starts and stops processes of a lab."""
    with _turn(lab, "engine.lock"):
        yield


@contextmanager
def gateway_turn(lab: Lab) -> Iterator[None]:
    """Be the only one who changes what a lab's gateway does."""
    with _turn(lab, "gateway.lock"):
        yield


@contextmanager
def _turn(lab: Lab, name: str) -> Iterator[None]:
    file = lab.state / name
    mine = (threading.get_ident(), file)
    if mine in _held:
        yield
        return
    private_folder(lab.state)
    with locked(file, patience=PATIENCE):
        _held.add(mine)
        try:
            yield
        finally:
            _held.discard(mine)
