"""What every model behind a queue promises to those who ask it, however it works."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from llmlab.runtimes import Encoded, Summary
from llmlab.service.waiting import FairQueue, Place

LONGEST_RETRY_AFTER = 60


class QueueFull(Exception):
    """So much waits already that this request would crowd out others.

    Args:
        wait: seconds until there should be room.
    """

    def __init__(self, wait: float) -> None:
        self.retry_after = max(1, min(LONGEST_RETRY_AFTER, math.ceil(wait)))
        super().__init__(f"the queue is full; try again in {self.retry_after} s")


class TooLate(QueueFull):
    """There is room, but its turn would come when nobody waits for it any more."""


def entered(
    queue: FairQueue,
    subject: str,
    seconds: float,
    time_for: Callable[[int], float],
    places: int = 1,
) -> Place:
    """A place for a request of a subject that waits for so many seconds.

    Args:
        time_for: seconds until so many texts have had their turn.
        places: that it takes.

    Raises:
        QueueFull: there is none for this subject.
        TooLate: it would wait for longer than that.
    """
    if not queue.admits(subject, places):
        raise QueueFull(time_for(max(len(queue), queue.waiting)))
    wait = time_for(queue.ahead(subject))
    if wait > seconds:
        raise TooLate(wait)
    return queue.enter(subject, places)


class Queued(Protocol):
    """A model with a queue in front of it: see ``Batcher`` and ``Turns``."""

    limit: int

    @property
    def texts(self) -> tuple[int, int]: ...

    def enter(self, subject: str, seconds: float) -> Place: ...

    def enter_aside(self, subject: str) -> Place: ...

    def leave(self, place: Place) -> None: ...

    async def generate(
        self, place: Place, texts: Sequence[Encoded], progress: Callable[[], None] = ...
    ) -> list[Summary]: ...

    async def close(self) -> None: ...
