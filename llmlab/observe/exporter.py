"""A lab's metrics over HTTP, for a Prometheus that cannot open its sockets."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit

from llmlab.errors import EnvironmentFailure, LlmlabError, UsageError
from llmlab.observe.exposition import TYPE

PATIENCE = 10.0  # seconds that a client may take to ask


def address(text: str) -> tuple[str, int]:
    """``PORT``, of this machine alone, or ``ADDRESS:PORT``.

    Raises:
        UsageError: it is neither.
    """
    host, _, port = text.rpartition(":")
    try:
        where = ipaddress.ip_address(host.strip("[]") or "127.0.0.1")
        if not 0 < int(port) < 65536:
            raise ValueError
    except ValueError:
        raise UsageError(
            f"{text!r} is no address to listen on", fix="llmlab metrics --listen 127.0.0.1:9464"
        ) from None
    return str(where), int(port)


class Exporter:
    """Answers GET /metrics, one client at a time, with a page that is made for it.

    Args:
        page: makes it.
        where: host and port.

    Raises:
        EnvironmentFailure: another program listens there, or it is another machine's address.
    """

    def __init__(self, page: Callable[[], str], where: tuple[str, int]) -> None:
        host, port = where
        try:
            self._server = _server(host)(where, _handler(page, host))
        except OSError as error:
            raise EnvironmentFailure(
                f"{host}:{port} cannot be listened on: {error.strerror}",
                fix=f"llmlab metrics --listen 127.0.0.1:{port + 1}",
            ) from None

    def serve(self) -> None:
        """Until ``close``, or an interrupt."""
        self._server.serve_forever(poll_interval=0.2)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _server(host: str) -> type[HTTPServer]:
    class Server(HTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        def handle_error(self, *_: object) -> None:
            """Nothing: a client that went away is not worth a traceback."""

    return Server


def _is_addressed(said: str) -> bool:
    """Whether a Host is an address, or localhost. A name that a web page has pointed at this
    machine (DNS rebinding) is another one: what is only for this machine is not for that page."""
    host = urlsplit(f"//{said}").hostname or ""
    try:
        return host == "localhost" or bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _handler(page: Callable[[], str], host: str) -> type[BaseHTTPRequestHandler]:
    here_alone = ipaddress.ip_address(host).is_loopback

    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE

        def do_GET(self) -> None:
            if here_alone and not _is_addressed(self.headers.get("Host", "localhost")):
                self._answer(403, "This is not a name of this machine.\n", "text/plain")
                return
            if self.path.partition("?")[0] != "/metrics":
                self._answer(404, "The metrics are at /metrics.\n", "text/plain")
                return
            try:
                text = page()
            except LlmlabError as error:
                self._answer(503, f"{error.message}\n", "text/plain")
                return
            self._answer(200, text, TYPE)

        def _answer(self, status: int, text: str, kind: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: a scrape is not worth a line."""

    return Handler
