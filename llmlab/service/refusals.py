"""What is told to whom the queue turns away, or who has waited for too long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmlab.config import Service
from llmlab.service.metrics import Metrics
from llmlab.service.problems import Problem
from llmlab.service.queued import QueueFull, TooLate
from llmlab.service.schemas import OWN_LIMIT, TIMEOUT


@dataclass(frozen=True)
class Refusals:
    """
    Args:
        what: "summary" or "answer", for people.
    """

    service: Service
    metrics: Metrics
    what: str = "summary"

    def patience(self, timeout: float | None) -> float:
        """Seconds that a request may take: the client's limit, if it has one, but never more
        than the service's."""
        return min(timeout or self.service.timeout, self.service.timeout)

    def broken_off(self, seconds: float, longest: float) -> Problem:
        """What a stream ends with that has taken so many seconds.

        Args:
            longest: seconds of a stream, whoever asks.
        """
        self.metrics.rejected.labels("timeout").inc()
        is_own = seconds != longest
        whose = TIMEOUT if is_own else "stream_timeout"
        said = f"The answer was not whole within {seconds:g} s ({whose})."
        return Problem(504, said, headers={"Server-Timing": OWN_LIMIT} if is_own else {})

    def turned_away(self, full: QueueFull, seconds: float) -> Problem:
        """It may come again later."""
        if isinstance(full, TooLate):
            why = f"No turn within {self._limit(seconds)}: too many texts wait for this model"
            return self._later("deadline", why, full, self._timing(seconds))
        return self._later("queue_full", "Too many requests wait for this model", full)

    def too_slow(self, seconds: float) -> Problem:
        self.metrics.rejected.labels("timeout").inc()
        said = f"No {self.what} within {self._limit(seconds)}."
        return Problem(504, said, headers=self._timing(seconds))

    def _later(
        self, reason: str, why: str, full: QueueFull, headers: Mapping[str, str] | None = None
    ) -> Problem:
        self.metrics.rejected.labels(reason).inc()
        after = full.retry_after
        told = {"Retry-After": str(after), **(headers or {})}
        return Problem(429, f"{why}; try again in {after} s.", headers=told)

    def _limit(self, seconds: float) -> str:
        """The time that an answer has, and who says so."""
        whose = "service.timeout" if seconds == self.service.timeout else TIMEOUT
        return f"{seconds:g} s ({whose})"

    def _timing(self, seconds: float) -> dict[str, str]:
        return {} if seconds == self.service.timeout else {"Server-Timing": OWN_LIMIT}
