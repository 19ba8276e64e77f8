"""Addresses and ports of this machine."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from pathlib import Path
from urllib.parse import urlsplit

import psutil


def is_loopback(url: str) -> bool:
    """Whether a URL stays on this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which may lead anywhere, be it 127.0.0.1.example.com
        return False


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
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and connection.laddr and connection.laddr.port == port:
                if connection.pid is None:
                    break
                process = psutil.Process(connection.pid)
                return _described(process)
    return "a process of another user"
