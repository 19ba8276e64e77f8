"""Writes records in a thread of its own: no request waits for it. What it cannot keep up with is
dropped and counted."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import secrets
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from llmlab.files import write_atomically
from llmlab.recording.order import COUNTS, LINES, Counts, Order
from llmlab.recording.redacting import Redacting, guards
from llmlab.recording.sealing import Seal
from llmlab.service.recording.transcript import Tape, record_of

log = logging.getLogger("llmlab.service")
WAITING, WAITING_BYTES = 256, 33_554_432  # records that may wait, and bytes of their answers
TELLS = 1.0  # seconds at most until a change of the counts is on the disk


@dataclass
class Reel:
    """What this process has of one recording. Counts belong to the writer's thread, but for
    ``dropped`` and ``opted_out``, of which the event loop adds up its own."""

    order: Order
    counts: Counts
    name: str = field(default_factory=lambda: f"{os.getpid()}-{secrets.token_hex(4)}")
    dropped: int = 0
    opted_out: int = 0
    told: str = ""
    seal: Seal | None = None
    redacting: Redacting | None = None

    @property
    def lines(self) -> Path:
        return self.order.folder / f"{self.counts.deployment}.{self.name}{LINES}"

    @property
    def full(self) -> bool:
        return self.counts.full

    def size(self) -> int:
        """Bytes of all that processes have written of it."""
        return sum(one.stat().st_size for one in self.order.folder.glob(f"*{LINES}"))

    def tell(self) -> None:
        """Have the counts on the disk, if they have changed."""
        now = self.counts.model_copy(
            update={"dropped": self.counts.dropped + self.dropped, "opted_out": self.opted_out}
        )
        said = now.model_dump_json()
        if said != self.told and self.order.folder.is_dir():
            file = self.lines.with_name(f"{self.counts.deployment}.{self.name}{COUNTS}")
            write_atomically(file, said + "\n", self.order.mode)
            self.told = said


class Writer:
    """Of one process. ``put`` and ``reel_of`` belong to the event loop."""

    def __init__(self, deployment: str) -> None:
        self._deployment = deployment
        self._queue: queue.Queue[Tape | None] = queue.Queue(WAITING)
        self._reels: dict[str, Reel] = {}
        self._waiting = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def reel_of(self, order: Order) -> Reel:
        """The recording's, which is begun if there is none. A name may come again; its key, drawn
        for it, does not."""
        reel = self._reels.get(order.pseudonyms)
        if reel is None:
            reel = Reel(order, Counts(deployment=self._deployment))
            self._reels[order.pseudonyms] = reel
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="recording", daemon=True)
            self._thread.start()
        return reel

    def put(self, tape: Tape) -> bool:
        """Have it written, unless too much waits already."""
        reel = self.reel_of(tape.order)
        with self._lock:
            if not tape.too_long and self._waiting + tape.size <= WAITING_BYTES:
                try:
                    self._queue.put_nowait(tape)
                    self._waiting += tape.size
                    return True
                except queue.Full:
                    pass
        reel.dropped += 1
        return False

    def close(self) -> None:
        """Write what waits, and end."""
        if self._thread:
            self._queue.put(None)
            self._thread.join(timeout=5)

    # --- in the thread -----------------------------------------------------------

    def _work(self) -> None:
        due = time.monotonic() + TELLS
        while True:
            tape: Tape | None = None
            ended = False
            with contextlib.suppress(queue.Empty):
                tape = self._queue.get(timeout=TELLS)
                ended = tape is None
            if tape is not None:
                with self._lock:
                    self._waiting -= tape.size
                self._keep(tape)
            if ended or time.monotonic() >= due or self._queue.empty():
                self._tell()
                due = time.monotonic() + TELLS
            if ended:
                return

    def _tell(self) -> None:
        for reel in list(self._reels.values()):
            try:
                reel.tell()
            except OSError as error:
                log.error("recording %s: %s", reel.order.id, error.strerror)

    def _keep(self, tape: Tape) -> None:
        reel = self._reels[tape.order.pseudonyms]
        if reel.full:
            return
        try:
            self._write(reel, tape)
        except Exception as error:  # of a text: its message may quote it
            reel.counts.dropped += 1
            log.error("recording %s: a record is lost (%s)", tape.order.id, type(error).__name__)

    def _write(self, reel: Reel, tape: Tape) -> None:
        order = reel.order
        if reel.seal is None:
            reel.seal = Seal(order.seal, order.id)
            reel.redacting = Redacting(guards()) if order.redact else None
        record = record_of(tape, reel.redacting)
        line = reel.seal.line(json.dumps(record, ensure_ascii=False).encode("utf-8", "replace"))
        if reel.size() + len(line) > order.max_bytes:
            reel.counts.full = True
            log.warning("recording %s is full (%d bytes), and has ended here", order.id,
                        order.max_bytes)  # fmt: skip
            return
        # One write, so that a process that is killed leaves whole lines, or part of the last one.
        handle = os.open(reel.lines, os.O_WRONLY | os.O_APPEND | os.O_CREAT, order.mode)
        try:
            os.fchmod(handle, order.mode)  # whatever the umask of a container
            os.write(handle, line)
        finally:
            os.close(handle)
        counts = reel.counts
        counts.kept += 1
        if tape.model_id not in counts.models:
            counts.models.append(tape.model_id)
        if reel.redacting:
            counts.redacted = dict(reel.redacting.found)
