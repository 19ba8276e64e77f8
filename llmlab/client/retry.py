"""When to ask again, and how long to wait before. No I/O here."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx2

Outcome = httpx2.Response | httpx2.RequestError
# The gateway or the API turned the request away, or lost its API: nothing was answered, and
# asking again does no harm, because a summary changes nothing. Not 504: it was too slow once.
RETRIED_STATUSES = frozenset({429, 502, 503})
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0
# Nobody listens: a gateway that was killed is back within 5 s; one that is not was never up.
LONGEST_REFUSAL = 10.0
# An API that ended while it had the request may have ended because of it.
MOST_BROKEN_OFF = 2


@dataclass(frozen=True)
class RetryPolicy:
    """Ask again for at most ``seconds`` after the first try; 0 means never.

    A Retry-After of the server is honoured; otherwise pauses double, with jitter.
    """

    seconds: float = 60.0

    def attempts(self) -> Attempts:
        return Attempts(self)


@dataclass
class Attempts:
    """The tries of one request. Once an answer has ``begun`` there is no other one."""

    policy: RetryPolicy
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random
    tries: int = 0
    begun: bool = False
    broken_off: int = 0
    _start: float = field(init=False)

    def __post_init__(self) -> None:
        self._start = self.clock()

    def pause_after(self, outcome: Outcome) -> float | None:
        """Seconds to wait before the next try; None when this outcome is final."""
        self.tries += 1
        self.broken_off += _broke_off(outcome)
        if self.begun or self.broken_off == MOST_BROKEN_OFF or not _worth_another(outcome):
            return None
        backoff = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self.tries - 1)) * (0.5 + self.jitter())
        pause = max(_retry_after(outcome), backoff)
        refused = isinstance(outcome, httpx2.ConnectError)
        limit = min(self.policy.seconds, LONGEST_REFUSAL) if refused else self.policy.seconds
        return pause if self.clock() - self._start + pause <= limit else None


def _worth_another(outcome: Outcome) -> bool:
    if isinstance(outcome, httpx2.Response):
        return outcome.status_code in RETRIED_STATUSES
    # A connection that was refused or broke off; a time-out was long enough already.
    return isinstance(outcome, httpx2.NetworkError | httpx2.RemoteProtocolError)


def _broke_off(outcome: Outcome) -> bool:
    """Whether an API had the request: a gateway whose API is only away says when to come back."""
    if not isinstance(outcome, httpx2.Response) or outcome.status_code != 502:
        return False
    return "Retry-After" not in outcome.headers


def _retry_after(outcome: Outcome) -> float:
    if not isinstance(outcome, httpx2.Response):
        return 0.0
    value = outcome.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0.0
