"""Some of what clients asked, and the answers that they got: the newest of them, in memory only,
and only while a rollout's controller has them remembered.

Whoever sends ``Cache-Control: no-store`` is left out, as of a recording. Without an order it costs
a request one look at nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llmlab.errors import unreadable
from llmlab.recording.order import LOOK
from llmlab.recording.sampling import LARGEST, Sample
from llmlab.service.chat.copies import copy_of
from llmlab.service.chat.schemas import ChatRequest
from llmlab.service.recording.transcript import pseudonym
from llmlab.service.schemas import SummarizeRequest

log = logging.getLogger("llmlab.service")
KEPT, KEPT_CHARACTERS, KEPT_SECONDS = 100, 2_000_000, 300.0
NOT_ASKED = {"text", "model", "user", "store"}


@dataclass(frozen=True, slots=True)
class Remembered:
    """
    Args:
        n: grows from answer to answer, and from one process to the next: it begins with the
            milliseconds of the epoch.
        at: seconds of the epoch, when it was answered.
        subject: a pseudonym; ``by`` is whose: a copy of the request is theirs as well.
        text: all that was said to the model.
        summary: what it answered.
        options: that the request had beside its text; of a conversation, all that it asks.
        ended: how the answer to a conversation did, see ``chat.copies``; None of a summary.
    """

    n: int
    at: float
    subject: str
    text: str
    summary: str
    options: dict[str, Any]
    by: str
    ended: dict[str, Any] | None = None

    @property
    def size(self) -> int:
        """Characters, about; a conversation stands there twice."""
        return len(self.text) * (1 if self.ended is None else 2) + len(self.summary)

    def as_json(self) -> dict[str, Any]:
        return {
            "n": self.n, "at": self.at, "subject": self.subject, "text": self.text,
            "summary": self.summary, "options": self.options, "by": self.by, "ended": self.ended,
        }  # fmt: skip


class Memory:
    """It belongs to the event loop.

    Args:
        file: may appear, change and go at any time; None for a process that never remembers.
        clock: gives seconds of the epoch.
    """

    def __init__(
        self, file: Path | None, deployment: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._file, self._deployment, self._clock = file, deployment, clock
        self._seen: tuple[int, int, int] | None = None
        self._due = 0.0
        self._n = time.time_ns() // 1_000_000
        self._subjects: dict[str, int] = {}
        self._kept: deque[Remembered] = deque()
        self.order: Sample | None = None

    async def watch(self) -> None:
        """Look at the file for ever."""
        while True:
            self.look()
            await asyncio.sleep(LOOK)

    def look(self) -> None:
        """Take note of what the file says now, and forget what is too old."""
        now = self._clock()
        if self._file is not None:
            try:
                found = self._file.stat()
                seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            except OSError:
                seen = None
            if seen != self._seen:
                self._seen = seen
                self._take(self._read() if seen else None)
        if self.order and now >= self.order.until:
            self._take(None)
        while self._kept and self._kept[0].at < now - KEPT_SECONDS:
            self._kept.popleft()

    def _take(self, order: Sample | None) -> None:
        if order and (order.deployment != self._deployment or order.until <= self._clock()):
            order = None
        before, self.order = self.order, order
        if before and order and before.pseudonyms == order.pseudonyms:
            return
        self._kept.clear()
        self._subjects.clear()
        self._due = 0.0
        if before or order:
            log.info("some of what is asked is %sremembered", "" if order else "no longer ")

    def _read(self) -> Sample | None:
        assert self._file is not None
        try:
            with self._file.open("rb") as file:
                return Sample.model_validate_json(file.read(LARGEST))
        except OSError as error:
            log.error("%s cannot be read: %s", self._file, error.strerror)
        except ValidationError as error:
            log.error("%s says nothing to remember: %s", self._file, unreadable(error))
        return None

    def takes(self, route: str, subject: str) -> bool:
        """Whether to remember a request that is answered now. Asked once for each."""
        order, now = self.order, self._clock()
        if order is None or route != order.route or now >= order.until:
            return False
        number = int(now // order.slice)
        if self._subjects.get(subject) == number:
            return False
        self._due += order.share
        if self._due < 100:
            return False
        self._due -= 100
        self._subjects[subject] = number
        if len(self._subjects) > KEPT * 10:
            self._subjects = {who: at for who, at in self._subjects.items() if at >= number - 1}
        return True

    def keep(
        self,
        subject: str,
        asked: SummarizeRequest | ChatRequest,
        text: str,
        summary: str,
        ended: dict[str, Any] | None = None,
    ) -> None:
        if self.order is None:
            return
        if isinstance(asked, ChatRequest):
            options = copy_of(asked)
        else:
            options = asked.model_dump(
                mode="json", exclude_unset=True, exclude_none=True, by_alias=True, exclude=NOT_ASKED
            )
        self._n += 1
        name = pseudonym(subject, self.order.pseudonyms)
        kept = Remembered(self._n, self._clock(), name, text, summary, options, subject, ended)
        self._kept.append(kept)
        size = sum(one.size for one in self._kept)
        while len(self._kept) > KEPT or size > KEPT_CHARACTERS:
            size -= self._kept.popleft().size

    def since(self, after: int) -> list[Remembered]:
        """Those that are kept of the ones after that number."""
        return [one for one in self._kept if one.n > after]
