"""A program that is kept running on a node, for as long as whoever keeps it lives."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from llmlab.engines.ray.fated import fated

log = logging.getLogger("llmlab.node")
AGAIN = (0.0, 1.0, 2.0, 5.0, 10.0)  # seconds until it is started again, the last one from then on
WELL = 30.0  # seconds after which a start has gone well


class Kept:
    """
    Args:
        folder: where it works; what it prints is in ``log`` there.
        ends_by: the signal by which it ends in peace.
        final_exit: an exit code after which it is not started again.
    """

    def __init__(
        self,
        folder: Path,
        command: Sequence[str],
        env: Mapping[str, str],
        *,
        log: str,
        ends_by: signal.Signals = signal.SIGTERM,
        final_exit: int | None = None,
    ) -> None:
        self._folder, self._command, self._env = folder, list(command), dict(env)
        self.log = folder / log
        self._ends_by, self._final = ends_by, final_exit
        self._child: subprocess.Popen[bytes] | None = None
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.starts, self.since, self.failed = 0, 0.0, False
        # A program is told of the end of the thread that has started it: so one thread does.
        self._thread = threading.Thread(target=self._keep, name=log, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def pid(self) -> int:
        """0 where it does not run."""
        child = self._child
        return child.pid if child and child.poll() is None else 0

    def end(self, patience: float) -> None:
        """In peace, if it takes no more than so many seconds."""
        with self._lock:
            self._over.set()
            child = self._child
        if child is None:
            return
        if child.poll() is None:
            child.send_signal(self._ends_by)
        try:
            child.wait(patience)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        self._thread.join(patience)

    def _keep(self) -> None:
        quick = 0
        while True:
            with self._lock:
                if self._over.is_set():
                    return
                started = time.monotonic()
                child = self._child = self._try()
            code = child.wait() if child else None
            if code is not None and code == self._final:
                self.failed = True
                return
            quick = 0 if time.monotonic() - started > WELL else quick + 1
            if self._over.wait(AGAIN[min(quick, len(AGAIN)) - 1] if quick else 0.0):
                return

    def _try(self) -> subprocess.Popen[bytes] | None:
        """None where it cannot be started for now: there may be no memory, or no disk."""
        try:
            return self._started()
        except OSError as error:
            log.error("%s: %s", self.log.name, error)
            return None

    def _started(self) -> subprocess.Popen[bytes]:
        self.starts, self.since = self.starts + 1, time.time()
        out = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            return subprocess.Popen(
                fated(self._command, self._ends_by), cwd=self._folder, env=self._env,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(out)
