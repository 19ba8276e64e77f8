"""One look at a lab for all who ask for one in the same second, and the memory of the last minutes
that figures need: a process has one of it for each lab."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from llmlab.delivery.looking import look
from llmlab.engines.base import Engine
from llmlab.engines.choice import running_engine
from llmlab.engines.status import LabStatus
from llmlab.errors import UpstreamError
from llmlab.lab import Lab
from llmlab.observe.observer import Observer, View
from llmlab.observe.window import KEPT

PACE = 0.9  # seconds for which a look is good; browsers are told once a second
REST = 3.0  # times as long as a look took: with containers each question is a call of Docker
FOUND = 10.0  # seconds for which an engine is taken to be the one: to find it asks all containers


@dataclass(frozen=True)
class Looked:
    """A lab at one moment.

    Args:
        view: what it does; None where the gateway has not told its metrics.
    """

    status: LabStatus
    view: View | None


class Watch:
    """Looks at one lab. Any number of threads may ask at once; one looks, and the others wait.

    Args:
        engine: under which it runs; None if it does not.
        clock: seconds, of any beginning.
    """

    def __init__(
        self, lab: Lab, engine: Callable[[], Engine | None], clock: Callable[[], float]
    ) -> None:
        self._lab, self._find, self._clock = lab, engine, clock
        self._turn, self._seeking = threading.Lock(), threading.Lock()
        self._engine: Engine | None = None
        self._observed: Engine | None = None
        self._found = 0.0
        self._observer: Observer | None = None
        self._last: Looked | None = None
        self._looked, self._good_until = 0.0, 0.0

    def engine(self) -> Engine:
        """The one under which the lab runs; the same object for as long as it is of the same kind.

        Raises:
            UpstreamError: the lab does not run.
        """
        with self._seeking:
            now = self._clock()
            if self._engine is None or now - self._found >= FOUND:
                found = self._find()
                if type(found) is not type(self._engine):
                    self._engine = found
                self._found = now
            if self._engine is None:
                raise UpstreamError("the lab does not run", fix="llmlab up")
            return self._engine

    def look(self) -> Looked:
        """
        Raises:
            UpstreamError: the lab does not run.
        """
        with self._turn:
            began = self._clock()
            if self._last is None or began >= self._good_until:
                self._last = self._look(began)
                self._looked = self._clock()
                self._good_until = began + PACE + REST * (self._looked - began)
            return self._last

    def _look(self, now: float) -> Looked:
        # After a pause the log has more lines than anybody wants to read, all of them too old.
        engine, last = self.engine(), self._observed
        if self._observer is None or engine is not last or now - self._looked > KEPT:
            self._observer, self._observed = Observer(engine), engine
        status = look(engine, self._lab)
        if not status.running:
            self._observer = self._engine = None  # it may come back under another engine
            raise UpstreamError("the lab does not run", fix="llmlab up")
        try:
            return Looked(status, self._observer.look(status))
        except UpstreamError:  # the gateway starts, or is gone; the status tells
            return Looked(status, None)


@cache
def watch(lab: Lab) -> Watch:
    return Watch(lab, lambda: running_engine(lab), time.monotonic)
