"""What of the machine this process may use: affinity, a container's limits, and what a replica on a
node is given of that, where nothing else holds it to it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
# What full batches (8192 tokens, 4 beams) of a T5-small took of memory, for each that is
# worked on at once: 340 MiB, and 160 for the process. Five of them fit into 2 GiB.
REPLICA = 400 << 20
CORES, BYTES = "LLMAPI_CORES", "LLMAPI_BYTES"  # environment variables, see ``held_to``


def held_to(cores: float, memory: int) -> dict[str, str]:
    """The environment of a process that is to go by so much as if it were a container's limit.

    Args:
        cores: parts of one are fine. ``memory`` in bytes, 0 for all that there is.
    """
    threads = str(max(1, int(cores)))  # of torch and numpy, which count the machine's cores
    limit = {BYTES: str(memory)} if memory else {}
    return {CORES: str(cores), "OMP_NUM_THREADS": threads} | limit


def default_replicas(threads: int) -> int:
    """Batches to work on at once, on so many cores each: as many as the cores are enough for,
    and the memory, where that is limited; at least one."""
    return max(1, int(min(usable_cores() // threads, memory_limit() / REPLICA)))


def usable_cores(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Whole cores, at least one. A quota of 1.5 cores counts as 1: a second thread would be
    stopped half of the time, and its batch with it."""
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    groups = _groups("cpu", cgroups, membership)
    quotas = [int(quota) for group in groups for quota in _quota_of(group)]
    return max(1, min([allowed, *quotas, *map(int, _given(CORES))]))


def memory_limit(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> float:
    """Bytes that this process's control groups let it have, or that it is given; infinity without a
    limit."""
    groups = _groups("memory", cgroups, membership)
    limits = [limit for group in groups for limit in _limit_of(group)]
    return min([math.inf, *limits, *_given(BYTES)])


def _given(name: str) -> Iterator[float]:
    if said := os.environ.get(name):
        yield float(said)


def _groups(controller: str, cgroups: Path, membership: Path) -> Iterator[Path]:
    """The folders of this process's control group and of those around it (v2, then v1)."""
    for line in _read(membership).splitlines():
        _, controllers, place = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = cgroups / controller if controllers else cgroups
        group = top / place.lstrip("/")
        # In a container the path may be the host's, which is not there; its own is the top.
        for folder in (group, *group.parents):
            yield folder
            if folder == top:
                break


def _quota_of(folder: Path) -> Iterator[float]:
    """Cores."""
    quota, _, period = _read(folder / "cpu.max").partition(" ")  # "max 100000": no limit
    if not quota:
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    if quota.strip().isdecimal() and period.strip().isdecimal():
        yield int(quota) / int(period)


def _limit_of(folder: Path) -> Iterator[int]:
    """Bytes."""
    limit = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")
    if limit.strip().isdecimal():  # "max": no limit
        yield int(limit)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
