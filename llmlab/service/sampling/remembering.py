"""Some of what clients asked, and the answers that they got: the newest of them, in memory only,
and only while a rollout's controller has them remembered.

Whoever sends ``Cache-Control: no-store`` is left out, as of a recording. Without an order it costs
a request one look at nothing. Of what is too long it remembers only that: each pair is measured
against all of its text, in the one controller of all routes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llmlab.errors import unreadable
from llmlab.recording.order import LOOK
from llmlab.recording.sampling import LARGEST, Sample, Samples
from llmlab.service.chat.copies import copy_of
from llmlab.service.chat.schemas import ChatRequest
from llmlab.service.recording.transcript import pseudonym
from llmlab.service.schemas import SummarizeRequest

log = logging.getLogger("llmlab.service")
KEPT, KEPT_CHARACTERS, KEPT_SECONDS = 100, 2_000_000, 300.0  # of each route
LONGEST_TEXT = 50_000  # characters of a text and its answer together
LONGEST_REQUEST = 100_000  # characters of its other options as JSON; of a conversation, of it all
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
        left_out: it was too long: nothing else of it is here.
        size: characters of its document.
    """

    n: int
    at: float
    subject: str
    text: str
    summary: str
    options: dict[str, Any]
    by: str
    ended: dict[str, Any] | None = None
    left_out: bool = False
    size: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", _characters(self.as_json()))

    def as_json(self) -> dict[str, Any]:
        return {
            "n": self.n, "at": self.at, "subject": self.subject, "text": self.text,
            "summary": self.summary, "options": self.options, "by": self.by, "ended": self.ended,
            "left_out": self.left_out,
        }  # fmt: skip


def _characters(document: dict[str, Any]) -> int:
    return len(json.dumps(document, ensure_ascii=False))


@dataclass(slots=True)
class Shelf:
    """What is remembered of one route.

    Args:
        subjects: in which slice each was last taken.
        kept: the oldest first.
    """

    order: Sample
    due: float = 0.0
    subjects: dict[str, int] = field(default_factory=dict)
    kept: deque[Remembered] = field(default_factory=deque)

    def takes(self, subject: str, now: float) -> bool:
        number = int(now // self.order.slice)
        if now >= self.order.until or self.subjects.get(subject) == number:
            return False
        self.due += self.order.share
        if self.due < 100:
            return False
        self.due -= 100
        self.subjects[subject] = number
        if len(self.subjects) > KEPT * 10:
            self.subjects = {who: at for who, at in self.subjects.items() if at >= number - 1}
        return True

    def add(self, one: Remembered) -> None:
        self.kept.append(one)
        size = sum(each.size for each in self.kept)
        while len(self.kept) > KEPT or size > KEPT_CHARACTERS:
            size -= self.kept.popleft().size

    def forget(self, before: float) -> None:
        while self.kept and self.kept[0].at < before:
            self.kept.popleft()


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
        self._n = time.time_ns() // 1_000_000
        self._shelves: dict[str, Shelf] = {}

    @property
    def orders(self) -> list[Sample]:
        """What is to be remembered now: one for each of some routes."""
        return [one.order for one in self._shelves.values()]

    async def watch(self) -> None:
        """Look at the file for ever."""
        while True:
            self.look()
            await asyncio.sleep(LOOK)

    def look(self) -> None:
        """Take note of what the file says now, and forget what is too old."""
        if self._file is not None:
            try:
                found = self._file.stat()
                seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            except OSError:
                seen = None
            if seen != self._seen:
                self._seen = seen
                self.take(self._read() if seen else ())
        now = self._clock()
        if any(now >= one.until for one in self.orders):
            self.take(self.orders)
        for shelf in self._shelves.values():
            shelf.forget(now - KEPT_SECONDS)

    def take(self, orders: Iterable[Sample]) -> None:
        """Go by these from now on, as far as they are for this deployment and have not ended. What
        is remembered by the key of one of them stays."""
        now, before = self._clock(), self._shelves
        self._shelves = {
            one.route: self._shelf(one)
            for one in orders
            if one.deployment == self._deployment and one.until > now
        }
        for route in sorted(before.keys() ^ self._shelves.keys()):
            log.info(
                "some of what %s is asked is %sremembered",
                route, "" if route in self._shelves else "no longer ",
            )  # fmt: skip

    def _shelf(self, order: Sample) -> Shelf:
        known = self._shelves.get(order.route)
        if known is None or known.order.pseudonyms != order.pseudonyms:
            return Shelf(order)
        known.order = order
        return known

    def _read(self) -> tuple[Sample, ...]:
        assert self._file is not None
        try:
            with self._file.open("rb") as file:
                return Samples.model_validate_json(file.read(LARGEST)).samples
        except OSError as error:
            log.error("%s cannot be read: %s", self._file, error.strerror)
        except ValidationError as error:
            log.error("%s says nothing to remember: %s", self._file, unreadable(error))
        return ()

    def takes(self, route: str, subject: str) -> bool:
        """Whether to remember a request that is answered now. Asked once for each."""
        shelf = self._shelves.get(route)
        return shelf is not None and shelf.takes(subject, self._clock())

    def keep(
        self,
        route: str,
        subject: str,
        asked: SummarizeRequest | ChatRequest,
        text: str,
        summary: str,
        ended: dict[str, Any] | None = None,
    ) -> None:
        shelf = self._shelves.get(route)
        if shelf is None:
            return
        self._n += 1
        n, now = self._n, self._clock()
        name = pseudonym(subject, shelf.order.pseudonyms)
        options = None if len(text) + len(summary) > LONGEST_TEXT else _options(asked)
        if options is None or _characters(options) > LONGEST_REQUEST:
            shelf.add(Remembered(n, now, name, "", "", {}, "", left_out=True))
        else:
            shelf.add(Remembered(n, now, name, text, summary, options, subject, ended))

    def since(self, route: str, after: int) -> list[Remembered]:
        """Those that are kept of a route, of the ones after that number."""
        shelf = self._shelves.get(route)
        return [one for one in shelf.kept if one.n > after] if shelf else []


def _options(asked: SummarizeRequest | ChatRequest) -> dict[str, Any]:
    if isinstance(asked, ChatRequest):
        return copy_of(asked)
    return asked.model_dump(
        mode="json", exclude_unset=True, exclude_none=True, by_alias=True, exclude=NOT_ASKED
    )
