"""What a system's processes use, all of them together: CPU time and memory."""

from __future__ import annotations

import contextlib
import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

EVERY = 0.5  # seconds


def tree(roots: list[psutil.Process]) -> list[psutil.Process]:
    """Processes and all their descendants, parents first."""
    found: dict[int, psutil.Process] = {}
    for root in roots:
        with contextlib.suppress(psutil.Error):
            for one in [root, *root.children(recursive=True)]:
                found.setdefault(one.pid, one)
    return list(found.values())


@dataclass
class Usage:
    """Samples of a process tree: moments, CPU-seconds so far, resident bytes."""

    moments: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)

    def cpu_between(self, begin: float, until: float) -> float:
        """CPU-seconds used, interpolated between the samples."""
        return self._cpu_at(until) - self._cpu_at(begin)

    def _cpu_at(self, moment: float) -> float:
        after = bisect_right(self.moments, moment)
        if after == 0:
            return self.cpu[0]
        if after == len(self.moments):
            return self.cpu[-1]
        left, right = self.moments[after - 1], self.moments[after]
        part = (moment - left) / (right - left)
        return self.cpu[after - 1] + part * (self.cpu[after] - self.cpu[after - 1])


class Meter:
    """Samples a tree while a block runs. Memory is the sum of resident sizes, so pages that
    processes share count once for each of them."""

    def __init__(self, roots: Callable[[], list[psutil.Process]]) -> None:
        self.usage = Usage()
        self._roots = roots
        self._seen: dict[int, float] = {}  # CPU-seconds of each process, also of ended ones
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Usage:
        self._sample()
        self._thread.start()
        return self.usage

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        while not self._over.wait(EVERY):
            self._sample()

    def _sample(self) -> None:
        resident = 0
        for process in tree(self._roots()):
            with contextlib.suppress(psutil.Error), process.oneshot():
                times = process.cpu_times()
                self._seen[process.pid] = times.user + times.system
                resident += process.memory_info().rss
        self.usage.moments.append(time.monotonic())
        self.usage.cpu.append(sum(self._seen.values()))
        self.usage.resident.append(resident)
