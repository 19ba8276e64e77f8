"""An API process is ended after its last request, and not before."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from llmlab.engines import probe
from tests.test_gateway import EchoServer


class Busy:
    """Says in its metrics how many requests wait; does not answer while it is ``stuck``."""

    def __init__(self, socket: Path) -> None:
        self.waiting = 0
        self.stuck = threading.Event()
        self.socket = socket
        busy = self

        class Metrics(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if busy.stuck.is_set():
                    time.sleep(5)
                body = f"llmlab_queue_waiting {busy.waiting}\n".encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = EchoServer(str(socket), Metrics)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Busy]:
    one = Busy(tmp_path / "api.sock")
    yield one
    one.server.shutdown()
    one.server.server_close()


def test_an_api_is_needed_while_a_request_waits_for_it(busy: Busy) -> None:
    busy.waiting = 2
    assert probe.is_needed(busy.socket)
    busy.waiting = 0
    assert not probe.is_needed(busy.socket)


def test_an_api_that_is_too_busy_to_say_so_is_needed(busy: Busy) -> None:
    busy.stuck.set()
    assert probe.is_needed(busy.socket)


def test_an_api_that_is_not_there_is_not_needed(tmp_path: Path) -> None:
    assert not probe.is_needed(tmp_path / "nobody.sock")
