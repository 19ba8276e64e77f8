"""Who waits for a model, and who is next. No threads and no clock in here.

The queue is fair between subjects: they take turns, and the fuller it is, the less of it one
subject may hold. That bound is the one of dynamic thresholds in shared-memory switches
(Choudhury and Hahne, IEEE/ACM Transactions on Networking, 1998): ``SHARE`` times what is
still free. The requests of one subject take turns too, window by window, so that a short
text need not wait for the end of a long one.

Beside it stand texts that nobody waits for: mirrored ones. They are no part of all that, and
get the model one by one, while nothing else does.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from llmlab.runtimes import Encoded

# One subject alone may fill four fifths of the queue; a second one still finds room.
SHARE = 4


@dataclass(eq=False, slots=True)
class Place:
    """One request's place in the queue, from its arrival to its end.

    Args:
        places: how many it takes, one for each of its answers: who asks for sixteen at once waits
            like sixteen who ask for one.
        untaken: its texts that wait for their turn.
        waits: whether it counts against the limit: until all its texts are with the model.
        given_up: nobody wants its summary any more.
        aside: nobody waits for it; it is read when there is nothing else to read.
        waited: seconds until the first of its texts had its turn; None before.
        read, written: tokens of all that the model has made of it.
    """

    subject: str
    places: int = 1
    untaken: int = 0
    waits: bool = True
    given_up: bool = False
    aside: bool = False
    waited: float | None = None
    read: int = 0
    written: int = 0


@dataclass(eq=False, slots=True)
class Job:
    """One encoded text that waits for its turn.

    Args:
        done: called with a Summary or an exception, from any thread.
        since: when it began to wait, in seconds of any steady clock.
        turn: its place among its subject's texts.
    """

    encoded: Encoded
    place: Place
    done: Callable[[Any], None]
    since: float = 0.0
    turn: int = 0


@dataclass
class FairQueue:
    """The texts of many subjects. ``limit`` bounds the places of those that wait."""

    limit: int
    _waiting: Counter[str] = field(default_factory=Counter)
    # By subject, whose turn it is first; each list in the order of turns.
    _jobs: dict[str, list[Job]] = field(default_factory=dict)
    _aside: list[Job] = field(default_factory=list)

    # --- requests ----------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Places of requests that wait."""
        return self._waiting.total()

    def admits(self, subject: str, places: int = 1) -> bool:
        """Whether one more request of a subject may come in."""
        further = self._counted(places) - 1
        free = self.limit - self.waiting - further
        return free > 0 and self._waiting[subject] + further < max(1, SHARE * free)

    def enter(self, subject: str, places: int = 1) -> Place:
        place = Place(subject, self._counted(places))
        self._waiting[subject] += place.places
        return place

    def _counted(self, places: int) -> int:
        """No more than one subject may have of an empty queue: what would take more comes in when
        nothing else waits, rather than never."""
        return min(places, SHARE * (self.limit + 1) // (SHARE + 1))

    def leave(self, place: Place) -> None:
        """The request is answered or given up; what it has in the queue is dropped."""
        place.given_up = True
        if place.aside:
            self._aside = [job for job in self._aside if job.place is not place]
        elif place.untaken:
            self._keep(place.subject, lambda job: job.place is not place)
        place.untaken = 0
        self._counts(place, False)

    def _counts(self, place: Place, waits: bool) -> None:
        """Whether a request is one of those that wait."""
        if place.waits is not waits:
            place.waits = waits
            self._waiting[place.subject] += place.places if waits else -place.places
            if not self._waiting[place.subject]:
                del self._waiting[place.subject]

    # --- texts that nobody waits for ---------------------------------------------

    @property
    def aside(self) -> int:
        return len(self._aside)

    def take_aside(self) -> list[Job]:
        """The first of them, which goes alone: who comes meanwhile waits for one at most."""
        job = self._aside.pop(0)
        job.place.untaken -= 1
        return [job]

    # --- texts -------------------------------------------------------------------

    def __len__(self) -> int:
        return sum(len(jobs) for jobs in self._jobs.values())

    def ahead(self, subject: str) -> int:
        """How many texts would be read before one of this subject that came now."""
        own = len(self._jobs.get(subject, ()))
        return sum(min(len(jobs), own + 1) for jobs in self._jobs.values())

    def add(self, place: Place, jobs: Iterable[Job]) -> None:
        """Put the texts of a request, one at least, into the queue, in their order."""
        if place.aside:
            jobs = list(jobs)
            place.untaken += len(jobs)
            self._aside += jobs
            return
        row = self._jobs.setdefault(place.subject, [])
        # Not in the turn that is being served: who comes later would always come before the
        # next window of a long text.
        first = row[0].turn + 1 if row else 0
        for number, job in enumerate(jobs):
            job.turn = first + number
            insort(row, job, key=lambda one: one.turn)
            place.untaken += 1
        self._counts(place, True)

    def take(self, budget: int, most: int) -> list[Job]:
        """The next batch: whose turn it is, and others that can go with it; shortest first.

        Args:
            budget: tokens that a batch may have, padding included, be it to read or to write.
                A job above it goes alone.
            most: jobs that a batch may have.
        """
        batch: list[Job] = []
        longest = 0
        for job in self._in_turn():
            if batch and job.encoded.key != batch[0].encoded.key:
                continue
            padded = max(longest, job.encoded.cost) * (len(batch) + 1)
            if batch and padded > budget:
                continue
            batch.append(job)
            longest = max(longest, job.encoded.cost)
            if len(batch) == most or longest * (len(batch) + 1) > budget:
                break
        self._taken(batch)
        return sorted(batch, key=lambda job: job.encoded.tokens)

    def _in_turn(self) -> Iterator[Job]:
        """One job of each subject, then a second one of each, and so on."""
        rows = list(self._jobs.values())
        number = 0
        while rows:
            rows = [row for row in rows if number < len(row)]
            yield from (row[number] for row in rows)
            number += 1

    def _taken(self, batch: list[Job]) -> None:
        """Take jobs out; their subjects go to the back of the line, who had the last turn last."""
        gone = set(batch)
        for subject in reversed({job.place.subject: None for job in reversed(batch)}):
            self._keep(subject, lambda job: job not in gone)
            if subject in self._jobs:
                self._jobs[subject] = self._jobs.pop(subject)
        for job in batch:
            job.place.untaken -= 1
            if not job.place.untaken:
                self._counts(job.place, False)

    def _keep(self, subject: str, wanted: Callable[[Job], bool]) -> None:
        kept = [job for job in self._jobs[subject] if wanted(job)]
        if kept:
            self._jobs[subject] = kept
        else:
            del self._jobs[subject]
