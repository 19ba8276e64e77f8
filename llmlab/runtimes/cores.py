"""How many processor cores this process may use: affinity, and a container's quota."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cores(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Whole cores, at least one. A quota of 1.5 cores counts as 1: a second thread would be
    stopped half of the time, and its batch with it."""
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, min([allowed, *(int(quota) for quota in _quotas(cgroups, membership))]))


def _quotas(cgroups: Path, membership: Path) -> Iterator[float]:
    """Limits in cores, of this process's control group and of those around it (v2, then v1)."""
    for line in _read(membership).splitlines():
        _, controllers, place = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = cgroups / "cpu" if controllers else cgroups
        group = top / place.lstrip("/")
        # In a container the path may be the host's, which is not there; its own is the top.
        for folder in (group, *group.parents):
            yield from _quota_of(folder)
            if folder == top:
                break


def _quota_of(folder: Path) -> Iterator[float]:
    quota, _, period = _read(folder / "cpu.max").partition(" ")  # "max 100000": no limit
    if not quota:
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    if quota.strip().isdecimal() and period.strip().isdecimal():
        yield int(quota) / int(period)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
