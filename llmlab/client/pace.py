"""How fast the requests of one client may follow each other. No I/O here.

A lab that answers 429 means all that a client asks, not the one request that it turns away. So
all of them wait together, and the one that was turned away has lost nothing: waiting for the
rate is no retry. A gateway that also says what its rate is (RateLimit-Policy, as in
draft-ietf-httpapi-ratelimit-headers) is asked at that rate from then on.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2

_POLICY = re.compile(r'"[^"]*"\s*(?:;\s*[a-z]+=\d+\s*)*')
_NUMBER = re.compile(r";\s*([a-z]+)=(\d{1,9})")


@dataclass
class Pace:
    """What a client knows of the lab's patience. Threads may share it.

    Args:
        interval: seconds from one request to the next; 0 while no rate is known.
        tell: called with the interval when the lab says another one.
    """

    clock: Callable[[], float] = time.monotonic
    interval: float = 0.0
    tell: Callable[[float], None] = lambda interval: None
    _next: float = float("-inf")  # when the next request may start
    _turned_away: float | None = None  # when, the first time since one was let through
    _last: float = float("-inf")  # when, the last time
    _under_way: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def claim(self) -> float:
        """0 if a request may start, and it is then taken to; else the seconds to wait."""
        with self._lock:
            now = self.clock()
            if now < self._next:
                return self._next - now
            self._next = now + self.interval
            return 0.0

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Around every request."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def let_through(self) -> None:
        """The lab has answered a request, whatever else it said."""
        with self._lock:
            self._turned_away = None

    def hold(self, seconds: float, response: httpx2.Response, patience: float) -> bool:
        """All wait for so long, as this answer says.

        Returns:
            Whether it is worth it: not if nobody was let through for ``patience`` seconds.
        """
        with self._lock:
            now = self.clock()
            # Long ago is another story; and while others are answered, the lab is there for us.
            if self._turned_away is None or self._under_way or now - self._last > patience:
                self._turned_away = now
            self._last = now
            if (interval := interval_of(response)) not in (0.0, self.interval):
                self.interval = interval
                self.tell(interval)
            worth_it = now + seconds - self._turned_away <= patience
            self._next = max(self._next, now + (seconds if worth_it else self.interval))
            return worth_it

    def _count(self, change: int) -> None:
        with self._lock:
            self._under_way += change


def interval_of(response: httpx2.Response) -> float:
    """Seconds between requests by the strictest RateLimit-Policy of an answer; 0 without one."""
    intervals = [0.0]
    for policy in _POLICY.findall(response.headers.get("RateLimit-Policy", "")):
        numbers = {name: int(value) for name, value in _NUMBER.findall(policy)}
        if numbers.get("q") and numbers.get("w"):
            intervals.append(numbers["w"] / numbers["q"])
    return max(intervals)
