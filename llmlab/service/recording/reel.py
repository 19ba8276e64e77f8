"""What one process has of one recording: its file of sealed lines, and its counts."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from llmlab.files import write_atomically
from llmlab.recording.order import COUNTS, LINES, Counts, Order
from llmlab.recording.redacting import Redacting, guards
from llmlab.recording.sealing import Seal
from llmlab.service.recording.transcript import Tape, record_of

log = logging.getLogger("llmlab.service")


@dataclass
class Reel:
    """It belongs to the writer's thread, but for ``dropped`` and ``opted_out``, which the event
    loop adds up."""

    order: Order
    counts: Counts
    name: str = field(default_factory=lambda: f"{os.getpid()}-{secrets.token_hex(4)}")
    dropped: int = 0
    opted_out: int = 0
    _told: str = ""
    _seal: Seal = field(init=False)
    _redacting: Redacting | None = field(init=False)
    _held: list[bytes] = field(default_factory=list)
    _size: int = 0

    def __post_init__(self) -> None:
        """Raises ImportError, ValueError: nothing can be sealed here, or not with this key."""
        self._seal = Seal(self.order.seal, self.order.id)
        self._redacting = Redacting(guards()) if self.order.redact else None

    @property
    def full(self) -> bool:
        return self.counts.full

    def keep(self, tape: Tape) -> None:
        """Hold a record until the next ``flush``; it is lost, and counted, if it cannot be made."""
        if self.full:
            return
        try:
            line = self._line(tape)
        except Exception as error:  # of a text: its message may quote it
            self._lose(1, error)
            return
        if not self._held:
            self._size = self._on_disk()
        self._size += len(line)
        if self._size > self.order.max_bytes:
            self.counts.full = True
            log.warning("recording %s is full (%d bytes), and has ended here", self.order.id,
                        self.order.max_bytes)  # fmt: skip
            return
        self._held.append(line)
        if tape.model_id not in self.counts.models:
            self.counts.models.append(tape.model_id)

    def flush(self) -> None:
        """Have on the disk what is held."""
        held, self._held = self._held, []
        if not held:
            return
        try:
            self._append(b"".join(held))
        except OSError as error:
            self._lose(len(held), error)
        else:
            self.counts.kept += len(held)

    def tell(self) -> None:
        """Have the counts on the disk, if they have changed.

        Raises:
            OSError: they cannot be written.
        """
        found = dict(self._redacting.found) if self._redacting else {}
        now = self.counts.model_copy(update={
            "dropped": self.counts.dropped + self.dropped, "opted_out": self.opted_out,
            "redacted": found,
        })  # fmt: skip
        said = now.model_dump_json()
        if said != self._told and self.order.folder.is_dir():
            write_atomically(self._file(COUNTS), said + "\n", self.order.mode)
            self._told = said

    def _line(self, tape: Tape) -> bytes:
        record = record_of(tape, self._redacting)
        return self._seal.line(json.dumps(record, ensure_ascii=False).encode("utf-8", "replace"))

    def _on_disk(self) -> int:
        """Bytes of all that processes have written of it. Another container may remove one
        meanwhile, or leave a link to nothing: that is to end no writer."""
        found = 0
        for one in self.order.folder.glob(f"*{LINES}"):
            with contextlib.suppress(OSError):
                found += one.lstat().st_size
        return found

    def _append(self, content: bytes) -> None:
        """All of it or, on a full disk, nothing."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        handle = os.open(self._file(LINES), flags, self.order.mode)
        try:
            os.fchmod(handle, self.order.mode)  # whatever the umask of a container
            before, written = os.fstat(handle).st_size, 0
            try:
                while written < len(content):
                    written += os.write(handle, content[written:])
            except OSError:
                os.ftruncate(handle, before)
                raise
        finally:
            os.close(handle)

    def _file(self, ending: str) -> Path:
        return self.order.folder / f"{self.counts.deployment}.{self.name}{ending}"

    def _lose(self, many: int, error: Exception) -> None:
        self.counts.dropped += many
        log.error("recording %s: %d lost (%s)", self.order.id, many, type(error).__name__)
