"""A program that takes part in a benchmark, for as long as a block lasts."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.systems import START, TOP, Failed


def listens(port: int) -> bool:
    """Whether something on this machine takes connections."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Program:
    """Runs a command until the end of a block, which begins when that is ready.

    Args:
        log: what it prints goes there.
        ready: whether it is, given its port.

    Raises:
        Failed: it does not come up.
    """

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        log: Path,
        ready: Callable[[int], bool] = listens,
    ) -> None:
        self.command, self.port, self.log, self.ready = list(command), port, log, ready

    def __enter__(self) -> Program:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, cwd=TOP, stdout=log, stderr=log)
        deadline = time.monotonic() + START
        while not self.ready(self.port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                said = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
                raise Failed(f"{' '.join(self.command)} does not come up:\n{said}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
