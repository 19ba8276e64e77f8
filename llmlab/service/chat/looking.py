"""A thread in which answers are held against what was asked of their form, one after the other.

It is of its own: what others do in threads never waits for it. Nothing that is looked at here takes
long; where too much waits nevertheless, an answer is not judged, and its client does not wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore

WAITING = 32  # with the one that is looked at
PATIENCE = 2.0  # seconds that an answer's end may wait for it


class Looking:
    """See this module."""

    def __init__(self, waiting: int = WAITING, patience: float = PATIENCE) -> None:
        self._thread = ThreadPoolExecutor(1, "formats")
        self._room = BoundedSemaphore(waiting)
        self._patience = patience

    async def at(self, look: Callable[[], bool | None]) -> bool | None:
        """What it finds; None where that is not to be had in time."""
        if not self._room.acquire(blocking=False):
            return None
        future = self._thread.submit(look)
        future.add_done_callback(lambda _: self._room.release())  # when it was cancelled as well
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._patience)
        except TimeoutError:
            return None


LOOKING = Looking()
