"""Looking at processes: who holds a port, who was left behind by a dead supervisor."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterable
from pathlib import Path

import psutil


def group_members(group: int, *, named: str) -> list[psutil.Process]:
    """Processes of a process group whose name or command line says ``named``."""
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            said = f"{process.info['name']} {' '.join(process.info['cmdline'] or [])}"
            if os.getpgid(process.pid) == group and named in said:
                found.append(process)
    return found


def stop_gracefully(processes: Iterable[psutil.Process]) -> None:
    """Ask NGINX processes to finish their requests and leave (SIGQUIT)."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGQUIT)


# How the command line of everything that a lab starts can be told from a person's own
# processes (a shell, a pager) that happen to work in the same folder.
_OURS = ("supervisord", "llmlab.service", "llmlab.gateway.launch", "nginx: ")


def lab_processes(state: Path) -> list[psutil.Process]:
    """All processes of a lab: everything that it starts works in its state folder.

    This also finds what was orphaned when a supervisor was killed.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            said = " ".join(process.cmdline())
            if process.cwd() == str(state) and any(mark in said for mark in _OURS):
                found.append(process)
    return found


def end(processes: Iterable[psutil.Process], *, patience: float = 5.0) -> None:
    """Terminate processes; kill those that are still there after ``patience`` seconds."""
    processes = list(processes)
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=patience)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=patience)


def nginx_workers(master: int | None) -> list[psutil.Process]:
    """The workers of an NGINX master process."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(master).children() if master else []
    return []


def take_requests(workers: Iterable[psutil.Process]) -> bool:
    """Whether one of these workers still takes new connections."""
    for worker in workers:
        with contextlib.suppress(psutil.Error):
            if "shutting down" not in " ".join(worker.cmdline()):
                return True
    return False


def port_is_free(host: str, port: int) -> bool:
    """Whether this machine would let us listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def port_holder(port: int) -> str:
    """``name (pid N)`` of the process that listens on a TCP port, as far as we may see it."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and connection.laddr and connection.laddr.port == port:
                if connection.pid is None:
                    break
                process = psutil.Process(connection.pid)
                return f"{process.name()} (pid {process.pid})"
    return "a process of another user"
