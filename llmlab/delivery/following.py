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

AT_ONCE = 64  # searches that are kept
STALE = 60.0  # seconds after which one is begun anew: nobody has looked meanwhile


class Followed:
    """One search, of the log of an engine that runs. Whoever looks first reads what is logged
    already; who looks for the same waits, and who looks for something else does not.

    Args:
        looked: when somebody did last.
    """

    def __init__(self, lab: Lab, engine: Engine, wanted: Wanted, looked: float) -> None:
        self._lab, self._engine, self._wanted, self.looked = lab, engine, wanted, looked
        self._turn = Lock()
        self._newest: Newest | None = None
        self._cursor = ""

    def look(self) -> Sought:
        with self._turn:
            newest = self._newest or self._begun()
            lines, self._cursor = self._engine.requests_since(self._cursor)
            for line in lines:
                newest.take(line.encode())
            return Sought(tuple(newest.requests()), newest.has_older)

    def _begun(self) -> Newest:
        newest = Newest(self._wanted)
        # First where it ends: what is written meanwhile is taken twice, and counts once.
        _, self._cursor = self._engine.requests_since("")
        read_back(self._lab, self._engine, newest)
        self._newest = newest
        return newest


class Following:
    """The searches that a process follows. Several threads may ask.

    Args:
        clock: seconds that only go on.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[tuple[Lab, str, Wanted], Followed] = OrderedDict()
        self._lock = Lock()  # of what is kept; no log is read under it

    def __len__(self) -> int:
        """How many searches are kept."""
        return len(self._kept)

    def look(self, lab: Lab, engine: Engine, wanted: Wanted) -> Sought:
        return self._followed(lab, engine, wanted).look()

    def _followed(self, lab: Lab, engine: Engine, wanted: Wanted) -> Followed:
        key, now = (lab, engine.name, wanted), self._clock()
        with self._lock:
            found = self._kept.pop(key, None)
            if found is None or now - found.looked > STALE:
                found = Followed(lab, engine, wanted, now)
            found.looked = now
            self._kept[key] = found
            while len(self._kept) > AT_ONCE:
                self._kept.popitem(last=False)
        return found
