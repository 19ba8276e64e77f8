"""Who waits for a model, and who is next. No threads and no clock in here.

The queue is fair between subjects: they take turns, and the more of the queue is taken, the
less of it one subject may hold. The bound is that of dynamic thresholds in shared-memory
switches (Choudhury and Hahne, IEEE/ACM Transactions on Networking, 1998): a subject may
hold up to ``SHARE`` times what is still free.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from llmlab.runtimes import Encoded

# One subject alone may fill four fifths of the queue; a second one still finds room.
SHARE = 4


@dataclass(eq=False)
class Job:
    """One encoded text that waits for its turn.

    Args:
        done: called with a Summary or an exception, from any thread.
        wanted: whether anybody still waits for it.
        since: when it began to wait, in seconds of any steady clock.
        waited: for how many seconds it did.
    """

    encoded: Encoded
    subject: str
    done: Callable[[Any], None]
    wanted: Callable[[], bool]
    since: float = 0.0
    waited: float = 0.0


@dataclass
class FairQueue:
    """Jobs of many subjects. ``limit`` bounds requests, each of which may be several jobs."""

    limit: int
    _held: Counter[str] = field(default_factory=Counter)
    _jobs: dict[str, deque[Job]] = field(default_factory=dict)

    # --- requests ----------------------------------------------------------------

    @property
    def requests(self) -> int:
        return self._held.total()

    def admits(self, subject: str) -> bool:
        """Whether one more request of a subject may come in."""
        free = self.limit - self.requests
        return free > 0 and self._held[subject] < max(1, SHARE * free)

    def enter(self, subject: str) -> None:
        self._held[subject] += 1

    def leave(self, subject: str) -> None:
        self._held[subject] -= 1
        if not self._held[subject]:
            del self._held[subject]

    # --- jobs --------------------------------------------------------------------

    def __len__(self) -> int:
        return sum(len(jobs) for jobs in self._jobs.values())

    def add(self, job: Job) -> None:
        self._jobs.setdefault(job.subject, deque()).append(job)

    def take(self, budget: int, most: int) -> list[Job]:
        """The next batch: jobs that can share one, shortest first, none that nobody wants.

        Args:
            budget: tokens that a batch may have, padding included. A job above it goes alone.
            most: jobs that a batch may have.
        """
        batch: list[Job] = []
        longest = 0
        for job in list(self._in_turn()):
            if not job.wanted():
                self._remove(job)
                continue
            padded = max(longest, job.encoded.tokens) * (len(batch) + 1)
            if batch and (job.encoded.key != batch[0].encoded.key or padded > budget):
                continue
            batch.append(job)
            longest = max(longest, job.encoded.tokens)
            if len(batch) == most:
                break
        for job in batch:
            self._remove(job)
            self._to_the_back(job.subject)
        return sorted(batch, key=lambda job: job.encoded.tokens)

    def _in_turn(self) -> Iterator[Job]:
        """One job of each subject, then a second one of each, and so on."""
        rows = [list(jobs) for jobs in self._jobs.values()]
        for place in range(max(map(len, rows), default=0)):
            for row in rows:
                if place < len(row):
                    yield row[place]

    def _remove(self, job: Job) -> None:
        jobs = self._jobs[job.subject]
        jobs.remove(job)
        if not jobs:
            del self._jobs[job.subject]

    def _to_the_back(self, subject: str) -> None:
        if subject in self._jobs:
            self._jobs[subject] = self._jobs.pop(subject)
