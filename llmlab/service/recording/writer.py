"""Writes records in a thread of its own: no request waits for it. What it cannot keep up with is
dropped and counted."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time

from llmlab.recording.order import Counts, Order
from llmlab.service.recording.reel import Reel
from llmlab.service.recording.transcript import Tape

log = logging.getLogger("llmlab.service")
WAITING, WAITING_BYTES = 256, 33_554_432  # records that may wait, and bytes of them
# Seconds in which it gathers what it writes at once: a thread that wakes for each record takes
# more from the event loop than the record does.
GATHERS = 0.05
TELLS = 1.0  # seconds at most until a change of the counts is on the disk


class Writer:
    """Of one process. ``put`` and ``close`` are for the event loop, ``reel_of`` and ``keep_only``
    for any thread."""

    def __init__(self, deployment: str) -> None:
        self._deployment = deployment
        self._queue: queue.Queue[Tape | None] = queue.Queue(WAITING)
        self._reels: dict[str, Reel] = {}
        self._wanted: set[str] | None = None  # nobody has said
        self._waiting = 0
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._ends = threading.Event()

    def reel_of(self, order: Order) -> Reel:
        """The recording's, which is begun if there is none. A name may come again; its key, drawn
        for it, does not."""
        with self._lock:
            reel = self._reels.get(order.pseudonyms)
            if reel is None:
                reel = Reel(order, Counts(deployment=self._deployment))
                self._reels[order.pseudonyms] = reel
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="recording", daemon=True)
                self._thread.start()
            return reel

    def keep_only(self, keys: set[str]) -> None:
        """Give up the reels of all other recordings, once what waits of them is written.

        Args:
            keys: of the names that subjects have.
        """
        with self._lock:
            self._wanted = keys

    def put(self, tape: Tape) -> bool:
        """Have it written, unless too much waits already."""
        with self._lock:
            reel = self.reel_of(tape.order)
            if not tape.too_long and self._waiting + tape.weight <= WAITING_BYTES:
                with contextlib.suppress(queue.Full):
                    self._queue.put_nowait(tape)
                    self._waiting += tape.weight
                    return True
            reel.dropped += 1
        return False

    def close(self) -> None:
        """Write what waits, and end."""
        self._ends.set()
        with contextlib.suppress(queue.Full):  # then it is awake
            self._queue.put_nowait(None)
        if self._thread:
            self._thread.join(timeout=5)

    # --- in the thread -----------------------------------------------------------

    def _work(self) -> None:
        due = time.monotonic() + TELLS
        while not (self._ends.is_set() and self._queue.empty()):
            with contextlib.suppress(queue.Empty):
                self._keep(self._queue.get(timeout=TELLS))
                self._ends.wait(GATHERS)
                while True:
                    self._keep(self._queue.get_nowait())
            for reel in list(self._reels.values()):
                reel.flush()
            if time.monotonic() >= due:
                self._tell(self._ended())
                self._tell(list(self._reels.values()))
                due = time.monotonic() + TELLS
        self._tell(list(self._reels.values()))

    def _ended(self) -> list[Reel]:
        """Those that are given up now. A request that is still on its way begins another one."""
        with self._lock:
            wanted = self._reels if self._wanted is None else self._wanted
            return [self._reels.pop(key) for key in set(self._reels).difference(wanted)]

    def _keep(self, tape: Tape | None) -> None:
        if tape is None:
            return
        with self._lock:
            self._waiting -= tape.weight
        self.reel_of(tape.order).keep(tape)

    def _tell(self, reels: list[Reel]) -> None:
        for reel in reels:
            try:
                reel.tell()
            except OSError as error:
                log.error("recording %s: %s", reel.order.id, error.strerror)
