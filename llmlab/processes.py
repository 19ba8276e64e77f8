"""Looking at processes: which are a lab's own, and who was left behind by a dead supervisor."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import psutil

LOOK = 0.02  # seconds between two looks at what is to end

# How the processes that a lab starts can be told from a person's own (a shell, a pager)
# that happen to work in the same folder.
_MODULES = {
    "supervisor.supervisord", "llmlab.console", "llmlab.service", "llmlab.notebook.launch",
    "llmlab.engines.compose.keeper", "llmlab.rollout.controller",
    "llmlab.scaling.process",
    "llmlab.engines.local.launch", "llmlab.engines.local.start_nginx",
    "llmlab.engines.local.start_waf", "llmlab.links.start",
    "llmlab.engines.local.keeper", "llmlab.engines.issuer_keys",
    "llmlab.engines.ray.start_node", "llmlab.engines.ray.placer", "ray.scripts.scripts",
}  # fmt: skip
_RAYS = ("raylet", "gcs_server")  # programs of a node, which outlive one that was killed


def lab_processes(state: Path, mark: str = "") -> list[psutil.Process]:
    """All processes of a lab: everything that it starts works in its state folder, or in one of
    its own right below it.

    This also finds what was orphaned when a supervisor was killed.

    Args:
        mark: only those in whose command line it is.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it may end while it is looked at
            argv = process.cmdline()
            if works_in(process, state) and _is_a_labs(argv) and mark in " ".join(argv):
                found.append(process)
    return found


def works_in(process: psutil.Process, state: Path) -> bool:
    """Whether its folder is this one, or below: the NGINX of links has its own.

    Raises:
        psutil.Error: it has ended, or is somebody else's.
    """
    folder = Path(process.cwd())
    return folder == state or state in folder.parents


def _is_a_labs(argv: list[str]) -> bool:
    modules = {name for option, name in pairwise(argv) if option == "-m"}
    return bool(modules & _MODULES) or _is_nginx(argv) or _is_of_ray(argv)


def _is_of_ray(argv: list[str]) -> bool:
    return bool(argv) and (Path(argv[0]).name in _RAYS or argv[0].startswith("ray::"))


def is_supervisor(process: psutil.Process) -> bool:
    """Whether a process is a lab's supervisord."""
    return "supervisor.supervisord" in _argv(process)


def _is_nginx(argv: list[str]) -> bool:
    return bool(argv) and argv[0].startswith("nginx:")


def orphaned_workers(state: Path) -> list[psutil.Process]:
    """NGINX workers of a lab whose master is gone, and that still take requests."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            title = " ".join(process.cmdline()[:1])
            if title.startswith("nginx: worker") and process.cwd() == str(state):
                parent = process.parent()
                if parent is None or not _is_nginx(_argv(parent)):
                    found.append(process)
    return [one for one in found if take_requests([one])]


def superseded_workers(state: Path, master: int | None) -> list[psutil.Process]:
    """Orphaned workers that may leave, since those of this master answer in their place.

    Who is an orphan is asked first: a master that is killed in between has none that answer.
    """
    orphans = orphaned_workers(state)
    return orphans if take_requests(nginx_workers(master)) else []


def runs_program(process: psutil.Process, program: str) -> bool:
    """Whether a process is of this binary."""
    with contextlib.suppress(psutil.Error):
        return bool(process.exe() == os.path.realpath(program))
    return False


def _argv(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def stop_gracefully(processes: Iterable[psutil.Process]) -> None:
    """Ask NGINX processes to finish their requests and leave (SIGQUIT)."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGQUIT)


def end(processes: Iterable[psutil.Process], *, patience: float = 5.0) -> None:
    """Terminate processes; kill those that are still there after ``patience`` seconds."""
    processes = list(processes)
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
            process.resume()  # a stopped one hears of it only then
    kill(_wait(processes, patience), patience=patience)


def kill(processes: Iterable[psutil.Process], *, patience: float = 5.0) -> None:
    """Kill processes at once, and wait until they are gone."""
    processes = list(processes)
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    _wait(processes, patience)


def _wait(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that still run after so many seconds. One that has ended and that its parent did not
    take note of yet is over: in a container that can take seconds, or for ever."""
    until = time.monotonic() + seconds
    while left := [one for one in processes if runs(one)]:
        if time.monotonic() >= until:
            break
        time.sleep(LOOK)
    return left


def runs(process: psutil.Process) -> bool:
    """Whether it has not ended."""
    with contextlib.suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def nginx_workers(master: int | None) -> list[psutil.Process]:
    """The workers of an NGINX master process."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(master).children() if master else []
    return []


def memory_of(pid: int | None) -> int:
    """Resident bytes of a process; 0 if it is gone."""
    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss) if pid else 0
    return 0


def take_requests(workers: Iterable[psutil.Process]) -> bool:
    """Whether one of these workers still takes new connections."""
    for worker in workers:
        with contextlib.suppress(psutil.Error):
            if not _is_leaving(worker):
                return True
    return False


def leaving_workers(master: int | None) -> list[psutil.Process]:
    """The workers of an NGINX master process that end what they had in hand at a reload."""
    found = []
    for worker in nginx_workers(master):
        with contextlib.suppress(psutil.Error):
            if _is_leaving(worker):
                found.append(worker)
    return found


def _is_leaving(worker: psutil.Process) -> bool:
    return "shutting down" in " ".join(worker.cmdline())
