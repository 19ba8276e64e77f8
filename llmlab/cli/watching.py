"""Views that go on until somebody has seen enough."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def keys() -> Iterator[Callable[[float], bool]]:
    """What is typed while a view is on does not show up in it.

    Gives a function that waits so many seconds and says whether `q` was pressed before. Without
    a terminal to type at it only waits.
    """
    if not sys.stdin.isatty():
        yield _sleep
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield lambda seconds: _pressed(terminal, seconds)
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _pressed(terminal: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if not select.select([terminal], [], [], left)[0]:
            return False
        typed = os.read(terminal, 64)
        if not typed or typed.lower().startswith(b"q"):  # or whoever typed is gone
            return True
    return False
