"""One address that opens connections, and requests, without end: what others still get."""

from __future__ import annotations

import contextlib
import re
import resource
import socket
from collections.abc import Iterator

import pytest

from llmlab.probe.load import MOST_CONCURRENCY, MOST_OPEN
from tests.test_gateway import EchoGateway, Files, Reply, assert_problem, echo_gateway, sent_raw
from tests.test_gateway_rendering import ONE_MODEL

HALF_OPEN = 1100
HALF_A_REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\nX-Never-Ending: "
CONNECTIONS = 3


def one_impatient_worker(files: Files) -> Files:
    conf = files["nginx.conf"]
    for name, value in (("worker_processes", "1"), ("client_header_timeout", "3s")):
        conf, found = re.subn(rf"{name} +[^;]+;", f"{name} {value};", conf)
        assert found == 1
    return files | {"nginx.conf": conf}


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoGateway]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    folder = tmp_path_factory.mktemp("crowded")
    try:
        with echo_gateway(folder, change=one_impatient_worker, connections=CONNECTIONS) as gateway:
            yield gateway
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def health(port: int) -> int:
    return sent_raw(port, b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").status


def test_connections_that_never_finish_their_request_lock_nobody_out(crowded: EchoGateway) -> None:
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(HALF_OPEN):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", crowded.port), 20))
            one.sendall(HALF_A_REQUEST)
            opened.append(one)
        assert health(crowded.port) == 200
        # And they are hung up on.
        with contextlib.suppress(ConnectionResetError):
            assert opened[-1].recv(1) == b""


def under_way(port: int, stack: contextlib.ExitStack) -> socket.socket:
    """A request whose body is on its way."""
    one = stack.enter_context(socket.create_connection(("127.0.0.1", port), 20))
    one.sendall(
        b"POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
    )
    assert one.recv(99).startswith(b"HTTP/1.1 100 ")  # so it was counted
    return one


def asked_from(address: str, port: int) -> Reply:
    return sent_raw(port, b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n", source=address)


def test_an_address_has_so_many_requests_under_way_and_no_more(crowded: EchoGateway) -> None:
    with contextlib.ExitStack() as stack:
        requests = [under_way(crowded.port, stack) for _ in range(CONNECTIONS)]
        reply = asked_from("127.0.0.1", crowded.port)
        assert "gateway.connections" in assert_problem(reply, 429)["detail"]
        assert int(reply.header("Retry-After")) >= 1
        assert asked_from("127.0.0.2", crowded.port).status == 200
        requests[0].sendall(b"x" * 9)
        assert requests[0].recv(99).startswith(b"HTTP/1.1 200 ")
        assert asked_from("127.0.0.1", crowded.port).status == 200


def test_what_a_lab_loads_itself_with_is_less() -> None:
    assert ONE_MODEL.connections > max(MOST_OPEN, MOST_CONCURRENCY)
