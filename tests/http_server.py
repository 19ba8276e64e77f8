"""The HTTP server behind which tests play an API, a hub or a gateway."""

from __future__ import annotations

import sys
from http.server import ThreadingHTTPServer
from typing import Any


class Ending:
    """Of a ``socketserver``: its end does not wait for half a second, as it does by itself."""

    def serve_forever(self, poll_interval: float = 0.02) -> None:
        super().serve_forever(poll_interval)  # type: ignore[misc]


class Server(Ending, ThreadingHTTPServer):
    """A client that hangs up is none of its failures, and ends up in no output of the tests."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
