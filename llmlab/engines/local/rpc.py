"""Asking supervisord over its unix socket, with a deadline for every answer."""

from __future__ import annotations

import http.client
import socket
import xmlrpc.client
from pathlib import Path
from typing import Any

ANSWERS_WITHIN = 5.0  # seconds; it does one thing at a time, and none of them takes long


def supervisord_at(path: Path) -> Any:
    """What answers there. A call raises OSError where nobody does, TimeoutError among them."""
    return xmlrpc.client.ServerProxy("http://supervisord", transport=_Transport(path)).supervisor


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        del host
        return _Connection(self._path)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWERS_WITHIN)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
