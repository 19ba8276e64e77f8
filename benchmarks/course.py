"""The course of a run: who is measured when, and for how long.

Each round visits every system with every number of clients, all systems with the same number
one after the other: so a noisy moment meets all of them. Rounds go on while there is time.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import Visit
from benchmarks.load import Job
from benchmarks.materials import Material
from benchmarks.roster import Entry
from benchmarks.shapes import Shape
from benchmarks.systems import Setting, System
from benchmarks.usage import Meter

Say = Callable[[str], None]
Key = tuple[str, str, int]  # letter, decoding, concurrency
WARM_UP = 4  # clients of the visit before the first one, which does not count; 1 if it is slow


@dataclass(frozen=True)
class Pace:
    """How long everything takes.

    Args:
        seconds: of a measurement, by concurrency.
        minutes: for all rounds with all decodings. The first round is made in any case.
        rounds: at most.
        slow: the most clients for slow systems.
    """

    seconds: Mapping[int, float]
    minutes: float
    rounds: int = 1000
    slow: int = 1000


FULL = Pace({1: 6.0, 8: 8.0, 32: 12.0}, minutes=21.0)
QUICK = Pace({1: 1.5, 8: 2.0, 32: 4.0}, minutes=1.0, rounds=1, slow=1)


@dataclass
class Course:
    """One decoding of one run."""

    entries: Sequence[Entry]
    material: Material
    shape: Shape
    pace: Pace
    replicas: int
    threads: int
    say: Say
    visits: dict[Key, list[Visit]] = field(default_factory=dict)
    _took: dict[Key, float] = field(default_factory=dict)
    _asked: int = 0

    def run(self, minutes: float) -> None:
        """All rounds within so many minutes, the first one in any case."""
        # Short, for the paths of unix sockets; private, for a lab's keys.
        folder = Path(tempfile.mkdtemp(prefix="bench-", dir="/tmp"))
        setting = Setting(self.material, self.shape.longest, self.replicas, self.threads, folder)
        try:
            with contextlib.ExitStack() as stack:
                systems = [self._started(entry, setting, stack) for entry in self.entries]
                self._rounds(systems, time.monotonic() + 60 * minutes)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _started(self, entry: Entry, setting: Setting, stack: contextlib.ExitStack) -> System:
        begin = time.monotonic()
        system = entry.make(setting, self.shape)
        stack.callback(system.stop)
        system.start()
        system.ask(self._job(1 if entry.slow else WARM_UP, 0.1))
        system.freeze()
        self.say(f"({entry.letter}) {entry.name}: ready in {time.monotonic() - begin:.0f} s")
        return system

    def _rounds(self, systems: Sequence[System], deadline: float) -> None:
        for number in range(self.pace.rounds):
            done = 0
            for concurrency in self.pace.seconds:
                self._asked += 100_000  # all systems get the same texts, nobody gets one twice
                for entry, system in zip(self.entries, systems, strict=True):
                    if entry.slow and concurrency > self.pace.slow:
                        continue
                    key = (system.letter, self.material.decoding, concurrency)
                    if number == 0 or time.monotonic() + self._took[key] < deadline:
                        self._visit(system, key, number)
                        done += 1
            if not done:
                return

    def _visit(self, system: System, key: Key, number: int) -> None:
        letter, decoding, concurrency = key
        begin = time.monotonic()
        job = self._job(concurrency, self.pace.seconds[concurrency])
        with system.running(), Meter(system.roots) as usage:
            result = system.ask(job)
        visit = Visit.of(result, usage)
        self.visits.setdefault(key, []).append(visit)
        self._took[key] = time.monotonic() - begin
        self.say(
            f"round {number + 1}  {decoding:<6}  {concurrency:>2} clients  ({letter:<2}) "
            f"{visit.rate:7.3f} texts/s  {self._took[key]:5.1f} s"
        )

    def _job(self, concurrency: int, seconds: float) -> Job:
        return Job(
            words=str(self.material.words), length=self.material.words_of_a_text,
            read=self.shape.read, written=self.shape.longest,
            concurrency=concurrency, seconds=seconds, first=self._asked,
        )  # fmt: skip
