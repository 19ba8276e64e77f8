"""What a lab's programs were started as: files in .llmlab/processes/, one for each program.

A supervisor knows its children, and nothing of those that another one left behind. These files
do: so a new one takes them over, and `status` and a reload need none at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from llmlab.files import write_atomically

FOLDER = "processes"  # below .llmlab
KEPT_STARTS = 20


@dataclass(frozen=True)
class Started:
    """One process of a program. ``born`` tells it from a later one with the same pid; ``starts``
    is when this same command was started, in seconds since 1970, the last time last."""

    pid: int
    born: float
    command: list[str]
    starts: list[float]

    def alive(self, state: Path) -> bool:
        """Whether it is this process that has the pid, working in the lab's state folder."""
        import psutil  # the launcher needs it for a restart only

        from llmlab.processes import works_in

        with contextlib.suppress(psutil.Error):
            found = psutil.Process(self.pid)
            same = _born(self.pid) == self.born and works_in(found, state)
            return same and found.status() != psutil.STATUS_ZOMBIE
        return False


def read_started(state: Path, program: str) -> Started | None:
    """What was started last as this program; None if nothing was, or nobody knows."""
    try:
        return Started(**json.loads(_file(state, program).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def all_started(state: Path) -> dict[str, Started]:
    """Program -> what was started last."""
    names = sorted(file.stem for file in (state / FOLDER).glob("*.json"))
    return {name: one for name in names if (one := read_started(state, name))}


def write_started(state: Path, program: str, command: Sequence[str]) -> None:
    """This process is about to become the program."""
    before = read_started(state, program)
    starts = before.starts if before and before.command == list(command) else []
    starts = [*starts, time.time()][-KEPT_STARTS:]
    _write(state, program, Started(os.getpid(), _born(os.getpid()), list(command), starts))


def forget_starts(state: Path) -> None:
    """Count the starts anew: somebody has seen to it."""
    for name, one in all_started(state).items():
        with contextlib.suppress(OSError):
            _write(state, name, replace(one, starts=one.starts[-1:]))


def forget(state: Path, program: str) -> None:
    with contextlib.suppress(OSError):
        _file(state, program).unlink(missing_ok=True)


def _born(pid: int) -> float:
    """When a process was started. Linux counts from its boot on: nobody can set that clock."""
    with contextlib.suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return float(stat.rpartition(")")[2].split()[19])  # proc_pid_stat(5): starttime
    import psutil

    return float(psutil.Process(pid).create_time())


def _write(state: Path, program: str, started: Started) -> None:
    folder = state / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    write_atomically(folder / f"{program}.json", json.dumps(asdict(started)) + "\n")


def _file(state: Path, program: str) -> Path:
    return state / FOLDER / f"{program}.json"
