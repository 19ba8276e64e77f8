"""A gateway in front of several deployments that say what they hear: for tests of routes."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmlab.gateway import Upstream
from llmlab.traffic import Traffic
from tests.test_gateway import Echo, EchoServer, Files, Forge, Reply, bearer, echo_gateway

STABLE, CANARY, THIRD = "stable", "canary", "third"


@dataclass
class Deployment:
    """One of them. ``shadows`` are the bodies of the copies that it got."""

    name: str
    socket: Path
    shadows: list[bytes] = field(default_factory=list)
    silent: threading.Event = field(default_factory=threading.Event)  # no answer to a copy
    breaks: threading.Event = field(default_factory=threading.Event)  # off, once it has a request
    stream: list[bytes] = field(default_factory=list)  # its answer in pieces, in place of an echo
    hands_on: str = ""  # where to, by X-Accel-Redirect
    usage: str = ""  # what it says that each answer has used
    answer: str = ""  # what it says that each has been like
    ends: Callable[[str], object] = lambda _: None  # told the id of a stream before its end
    settlements: list[str] = field(default_factory=list)  # the ids that it was given

    def handler(self) -> type[Echo]:
        deployment = self

        class Named(Echo):
            def do_GET(self) -> None:
                deployment.settlements.append(self.headers.get("X-Settlement", ""))
                if deployment.breaks.is_set():
                    self.close_connection = True
                    return
                if deployment.stream:
                    self._stream(deployment.stream)
                    return
                if not self.path.startswith("/shadow"):
                    super().do_GET()
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                deployment.shadows.append(body)
                if deployment.silent.is_set():
                    time.sleep(30)
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_GET

            def _stream(self, pieces: list[bytes]) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream; charset=utf-8")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for piece in [*pieces, b""]:
                    if not piece:
                        deployment.ends(self.headers.get("X-Settlement", ""))
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                    self.wfile.flush()

            def send_response(self, code: int, message: str | None = None) -> None:
                super().send_response(code, message)
                self.send_header("X-Answered-By", deployment.name)
                self.send_header("Server-Timing", "queue;dur=1.5")
                if deployment.hands_on:
                    self.send_header("X-Accel-Redirect", deployment.hands_on)
                if deployment.usage:
                    self.send_header("X-Usage", deployment.usage)
                if deployment.answer:
                    self.send_header("X-Answer", deployment.answer)

        return Named


@dataclass
class Routed:
    """A gateway with routes, and how to ask it."""

    port: int
    forge: Forge
    deployments: dict[str, Deployment]
    log: Path

    def ask(
        self, *headers: tuple[str, str], path: str = "/summarize/", method: str = "POST",
        **more: Any,
    ) -> Reply:  # fmt: skip
        """One request on a connection of its own; ``more`` as for ``on``."""
        with contextlib.closing(self.connection()) as connection:
            return self.on(connection, *headers, path=path, method=method, **more)

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def on(
        self, connection: http.client.HTTPConnection, *headers: tuple[str, str],
        path: str = "/summarize/", method: str = "POST", token: str | None = "",
        body: bytes = b'{"text": "A lamp."}', **claims: Any,
    ) -> Reply:  # fmt: skip
        """One request on a connection that stays open.

        Args:
            token: "" for one with these claims; None for none at all.
        """
        connection.putrequest(method, path, skip_accept_encoding=True)
        tokens = [] if token is None else [bearer(token or self.forge.token(**claims))]
        for name, value in [*headers, *tokens]:
            connection.putheader(name, value.encode())
        body = body if method == "POST" else b""
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return Reply(response.status, response.getheaders(), response.read())

    def to(self, *headers: tuple[str, str], **asked: Any) -> str:
        """Which deployment a request reached."""
        return self.ask(*headers, **asked).header("X-Answered-By")

    def sides(self, subjects: list[str]) -> dict[str, str]:
        """Subject -> the deployment that answered."""
        with contextlib.closing(self.connection()) as connection:
            return {
                sub: self.on(connection, method="GET", sub=sub).header("X-Answered-By")
                for sub in subjects
            }

    def line(self, reply: Reply) -> dict[str, Any]:
        """The access log's line of a response."""
        wanted = f'"request_id":"{reply.header("X-Request-ID")}"'
        deadline = time.monotonic() + 5
        while True:
            for line in self.log.read_text().splitlines(keepends=True):
                if wanted in line and line.endswith("\n"):
                    found: dict[str, Any] = json.loads(line)
                    return found
            assert time.monotonic() < deadline, "the request is not in the log"
            time.sleep(0.02)


@contextlib.contextmanager
def routed(
    folder: Path, traffic: Traffic, *, change: Callable[[Files], Files] = lambda files: files,
    **plan: Any,
) -> Iterator[Routed]:  # fmt: skip
    """Three deployments behind a real gateway, the first of them stable.

    Args:
        models: of ``plan``: {deployment: what it may write}.
        fallbacks: likewise: {deployment: who answers for it}.
    """
    folder.mkdir(exist_ok=True)
    deployments = {
        name: Deployment(name, folder / f"{name}.sock") for name in (STABLE, CANARY, THIRD)
    }
    with contextlib.ExitStack() as stack:
        for one in deployments.values():
            server = stack.enter_context(EchoServer(str(one.socket), one.handler()))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
        models = plan.pop("models", {})
        fallbacks = plan.pop("fallbacks", {})
        upstreams = tuple(
            Upstream(one.name, (f"unix:{one.socket}",), model=models.get(one.name),
                     fallback=fallbacks.get(one.name, ""))
            for one in deployments.values()
        )  # fmt: skip
        gateway = stack.enter_context(
            echo_gateway(folder, change=change, upstreams=upstreams, traffic=traffic,
                         **({"stable": STABLE} | plan))
        )  # fmt: skip
        yield Routed(gateway.port, gateway.forge, deployments, folder / "log")
