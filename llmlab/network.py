"""Addresses and ports of this machine."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psutil

# Linux lets several processes of one user listen at one address, and shares the connections out
# among them. So a new NGINX can start while the workers of a killed one still answer, and an
# address that contains the one from before is taken over by a reload.
SHARES_PORTS = sys.platform == "linux"


def is_loopback(url: str) -> bool:
    """Whether a URL stays on this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which may lead anywhere, be it 127.0.0.1.example.com
        return False


def without_login(url: str) -> str:
    """A URL as it may be shown: user and password may stand in it."""
    scheme, mark, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{mark}{place.rpartition('@')[2]}{slash}{path}" if mark else url


def _described(process: psutil.Process) -> str:
    said = f"{process.name()} (pid {process.pid})"
    with contextlib.suppress(psutil.Error):
        folder = Path(process.cwd())
        if folder.name == ".llmlab":
            return f"the lab in {folder.parent}: {said}"
    return said


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
    pid = next(iter(_listeners(port)), None)
    with contextlib.suppress(psutil.Error):
        if pid is not None:
            return _described(psutil.Process(pid))
    return "a process of another user"


def port_is_held_in(folder: Path, port: int) -> bool:
    """Whether all who listen on a TCP port work in this folder."""
    listeners = _listeners(port)
    with contextlib.suppress(psutil.Error):
        return bool(listeners) and all(
            pid is not None and psutil.Process(pid).cwd() == str(folder) for pid in listeners
        )
    return False


def _listeners(port: int) -> list[int | None]:
    """Who listens on a TCP port; None is somebody whom we may not see."""
    with contextlib.suppress(psutil.Error):
        return [
            one.pid
            for one in psutil.net_connections("tcp")
            if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port
        ]
    return []


def listening(pid: int | None) -> list[tuple[str, int]]:
    """The addresses and ports at which a process listens for TCP, as far as we may see it."""
    with contextlib.suppress(psutil.Error):
        found = psutil.Process(pid).net_connections("tcp") if pid else []
        return sorted(
            {(one.laddr.ip, one.laddr.port) for one in found if one.status == psutil.CONN_LISTEN}
        )
    return []
