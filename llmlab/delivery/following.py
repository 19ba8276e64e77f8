"""The newest requests, again and again: after the first time only what came since is read."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from llmlab.delivery.looking_up import Sought, read_back
from llmlab.delivery.searching import Newest, Wanted
from llmlab.engines.base import Engine
from llmlab.lab import Lab

AT_ONCE = 16  # searches that are kept
STALE = 60.0  # seconds after which one is begun anew: nobody has looked meanwhile


class Followed:
    """One search, of the log of an engine that runs."""

    def __init__(self, lab: Lab, engine: Engine, wanted: Wanted) -> None:
        self._engine, self._newest = engine, Newest(wanted)
        # First where it ends: what is written meanwhile is taken twice, and counts once.
        _, self._cursor = engine.requests_since("")
        read_back(lab, engine, self._newest)

    def look(self) -> Sought:
        lines, self._cursor = self._engine.requests_since(self._cursor)
        for line in lines:
            self._newest.take(line.encode())
        return Sought(tuple(self._newest.requests()), self._newest.has_older)


class Following:
    """The searches that a process follows. Several threads may ask.

    Args:
        clock: seconds that only go on.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[tuple[Lab, str, Wanted], tuple[float, Followed]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        """How many searches are kept."""
        return len(self._kept)

    def look(self, lab: Lab, engine: Engine, wanted: Wanted) -> Sought:
        key, now = (lab, engine.name, wanted), self._clock()
        with self._lock:
            looked, followed = self._kept.pop(key, (0.0, None))
            if followed is None or now - looked > STALE:
                followed = Followed(lab, engine, wanted)
            found = followed.look()
            self._kept[key] = now, followed
            while len(self._kept) > AT_ONCE:
                self._kept.popitem(last=False)
        return found
