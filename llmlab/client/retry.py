"""When to ask again, and how long to wait before. No I/O here."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

from llmlab.client.credentials import TokenSource
from llmlab.client.pace import Pace

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

    A Retry-After of the server is honoured; otherwise pauses double, with jitter. Requests of
    one client that are turned away by a rate limit (429) wait together, until for so long
    none of them was let through.
    """

    seconds: float = 60.0

    def attempts(self, pace: Pace | None = None) -> Attempts:
        return Attempts(self, pace)


@dataclass
class Attempts:
    """The tries of one request. Once an answer has ``begun`` there is no other one.

    Args:
        pace: of the client whose request it is; it then has the pauses that a 429 asks for.
    """

    policy: RetryPolicy
    pace: Pace | None = None
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random
    tries: int = 0
    begun: bool = False
    broken_off: int = 0
    renewed: bool = False
    _start: float = field(init=False)
    _waited: bool = True

    def __post_init__(self) -> None:
        self._start = self.clock()

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Around a try of a client with a pace."""
        assert self.pace
        if self._waited:
            self._start, self._waited = self.clock(), False
        with self.pace.under_way():
            yield

    def pause_after(self, outcome: Outcome, tokens: TokenSource | None = None) -> float | None:
        """Seconds to wait before the next try; None when this outcome is final.

        Args:
            tokens: a token that is refused is renewed once.
        """
        self.tries += 1
        self.broken_off += _broke_off(outcome)
        answer = None if isinstance(outcome, httpx2.RequestError) else outcome
        if self.pace and answer and answer.status_code != 429:
            self.pace.let_through()
        if tokens and answer and answer.status_code == 401 and not (self.renewed or self.begun):
            self.renewed = True
            return 0.0 if tokens.renew() else None
        if self.begun or self.broken_off == MOST_BROKEN_OFF or not _worth_another(outcome):
            return None
        backoff = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self.tries - 1)) * (0.5 + self.jitter())
        pause = max(retry_after(outcome), backoff)
        if self.pace and answer and answer.status_code == 429:
            self._waited = True  # the lab is there: what fails from the next try on is new
            return 0.0 if self.pace.hold(pause, answer, self.policy.seconds) else None
        refused = isinstance(outcome, httpx2.ConnectError)
        limit = min(self.policy.seconds, LONGEST_REFUSAL) if refused else self.policy.seconds
        return pause if self.clock() - self._start + pause <= limit else None


def _worth_another(outcome: Outcome) -> bool:
    if isinstance(outcome, httpx2.Response):
        return outcome.status_code in RETRIED_STATUSES and not _never_fits(outcome)
    # A connection that was refused or broke off; a time-out was long enough already.
    return isinstance(outcome, httpx2.NetworkError | httpx2.RemoteProtocolError)


def _never_fits(response: httpx2.Response) -> bool:
    """Whether no budget has room for such a request at any time: the gateway says no wait then."""
    said = response.headers.get("X-Should-Retry") == "false"
    return response.status_code == 429 and said and "Retry-After" not in response.headers


def _broke_off(outcome: Outcome) -> bool:
    """Whether an API had the request: a gateway whose API is only away says when to come back."""
    if not isinstance(outcome, httpx2.Response) or outcome.status_code != 502:
        return False
    return "Retry-After" not in outcome.headers


def retry_after(outcome: Outcome) -> float:
    """Seconds that the server asks for, as a number or as a date; 0 if it asks for none."""
    if not isinstance(outcome, httpx2.Response):
        return 0.0
    value = outcome.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdecimal():
        return float(value)
    if (until := _moment(value)) is None:
        return 0.0
    # By the server's own clock, where it tells the time.
    now = _moment(outcome.headers.get("Date", "")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds())


def _moment(date: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
