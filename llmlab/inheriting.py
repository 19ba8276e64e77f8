"""Listening sockets of workers that a killed master has left, handed on to the next master.

Who closes a socket drops the connections that wait in it to be accepted, and a client of one of
them reads a reset. So the next NGINX listens on the very sockets of the orphans: what waits there
is answered by whoever comes first, and nothing is lost when the orphans leave. It takes them the
way it does at an upgrade of its binary: by their numbers, in the variable NGINX.

Linux lets a process have a copy of another one's socket where it might debug it (pidfd_getfd(2)):
root may, and the same user unless Yama forbids it. Where that is not so, nothing is handed on.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

VARIABLE = "NGINX"  # numbers of sockets, each with a semicolon behind it
_PIDFD_GETFD = 438  # of every architecture; Linux 5.6


def hand_on(orphans: Iterable[psutil.Process]) -> list[socket.socket]:
    """Have the program that this process is about to become listen on the orphans' sockets.

    One at a path that was removed is left out: nobody can reach it any more. Nor is any handed on
    where the platform does not let us. Returns the sockets; they live as long as this list does.
    """
    handed: dict[int, socket.socket] = {}
    for orphan in orphans:
        for one in _listening(orphan.pid):
            path = one.getsockname() if one.family == socket.AF_UNIX else ""
            if not path or Path(path).exists():
                handed.setdefault(os.fstat(one.fileno()).st_ino, one)
    for one in handed.values():
        one.set_inheritable(True)
    if handed:
        os.environ[VARIABLE] = "".join(f"{one.fileno()};" for one in handed.values())
    return list(handed.values())


def paths(sockets: Iterable[socket.socket]) -> set[Path]:
    """Where they listen, those of them that do at a path; resolved."""
    return {Path(one.getsockname()).resolve() for one in sockets if one.family == socket.AF_UNIX}


def _listening(pid: int) -> Iterator[socket.socket]:
    """Copies of the sockets on which a process listens."""
    if sys.platform != "linux":
        return
    call = ctypes.CDLL(None, use_errno=True).syscall
    with contextlib.suppress(OSError):  # it has ended, or it is not for us to see
        process = os.pidfd_open(pid)
        try:
            for number in Path(f"/proc/{pid}/fd").iterdir():
                mine = call(_PIDFD_GETFD, process, int(number.name), 0)
                if mine >= 0 and (one := _as_listening(mine)):
                    yield one
        finally:
            os.close(process)


def _as_listening(descriptor: int) -> socket.socket | None:
    """It as a socket, if it is one that listens; otherwise it is closed."""
    try:
        one = socket.socket(fileno=descriptor)
    except OSError:
        os.close(descriptor)
        return None
    with contextlib.suppress(OSError):
        if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return one
    one.close()
    return None
