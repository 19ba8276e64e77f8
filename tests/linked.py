"""Links with both ends on this machine: an NGINX of the lab's side, and one beside each replica."""

from __future__ import annotations

import secrets
import shutil
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx2

from llmlab.engines.local.staging import worker_user
from llmlab.gateway import find_nginx
from llmlab.lab import Lab
from llmlab.links import conf, request
from llmlab.links.authority import Authority
from llmlab.links.binary import for_links
from llmlab.links.conf import End, Link, Setting, Settlements
from llmlab.links.server import Server
from llmlab.tls.pair import Pair
from tests.conftest import free_port
from tests.http_server import Ending

HOST = "127.0.0.1"
DEPLOYMENT = "textrank"


class Replica(Ending, socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """An HTTP server at a unix socket, which says its name and writes down what it is asked."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: Path, name: str = "") -> None:
        self.name, self.asked, self.left = name, [], threading.Event()
        self.go_on = threading.Event()
        super().__init__(str(path), Answers)
        path.chmod(0o666)
        self.path = path
        self.thread = threading.Thread(target=self.serve_forever)
        self.thread.start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no failure of the server."""

    def stop(self) -> None:
        self.go_on.set()
        self.shutdown()
        self.server_close()
        self.thread.join()
        self.path.unlink(missing_ok=True)


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Replica

    def address_string(self) -> str:
        return "unix"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        self.server.asked.append(self.path)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.do_GET()

    def do_GET(self) -> None:
        text = self.server.name.encode()
        self.send_response(200)  # which writes down that it was asked
        if self.path == "/stream":
            self._stream()
            return
        if self.path == "/slow":
            self.server.go_on.wait(20)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _stream(self) -> None:
        """The second event only once somebody has had the first one; then for ever."""
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"data: 1\n\n")
        self.server.go_on.wait(20)
        with suppress(OSError):
            while True:
                self.wfile.write(b"data: 2\n\n")
                if self.server.left.wait(0.01):
                    break
        self.server.left.set()


def client(path: Path, **how: Any) -> httpx2.Client:
    transport = httpx2.HTTPTransport(uds=str(path), verify=False)
    return httpx2.Client(transport=transport, base_url="http://api", timeout=20, **how)


def get(path: Path, what: str = "/") -> httpx2.Response:
    with client(path) as asks:
        return asks.get(what)


@contextmanager
def running(
    server: Server, text: str, files: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Its NGINX, until the end of the block."""
    server.go_by(text, files)
    process = subprocess.Popen(server.command, stderr=subprocess.DEVNULL)
    try:
        server.started = process
        server.wait_until_it_listens()
        yield process
    finally:
        process.terminate()
        process.wait()


class Started(Server):
    """One whose process is a child of ours."""

    started: subprocess.Popen[bytes] | None = None

    def __init__(self, prefix: Path) -> None:
        super().__init__(prefix, for_links(find_nginx()), self._running)

    def _running(self) -> int | None:
        return None if self.started is None or self.started.poll() is not None else self.started.pid


@dataclass
class Node:
    """A replica with its end of a link; its NGINX goes by ``text`` and ``files``."""

    end: End
    home: Path
    server: Started
    text: str
    files: dict[str, str]
    replica: Replica

    @property
    def link(self) -> Link:
        return self.end.link

    @property
    def settlements(self) -> Path:
        return self.home / "gateway.settlements"


@dataclass
class Linked:
    """Of a lab in a temporary folder; everything ends with ``stack``."""

    home: Path
    stack: ExitStack
    lab: Lab = field(init=False)
    authority: Authority = field(init=False)
    server: Started = field(init=False)
    process: subprocess.Popen[bytes] = field(init=False)
    back: Settlements = field(init=False)
    gateway: Replica = field(init=False)

    def __post_init__(self) -> None:
        self.lab = Lab(self.home / "lab")
        self.authority = Authority(self.lab)
        self.server = Started(self.lab.state / "links")
        self.back = Settlements(self.home / "gateway.settlements", HOST, free_port())
        self.gateway = self.serving(self.back.socket, "gateway")

    def serving(self, path: Path, name: str) -> Replica:
        one = Replica(path, name)
        self.stack.callback(one.stop)
        return one

    def setting(self) -> Setting:
        return Setting(longest=30, worker_user=worker_user())

    def add(self, process: str, *, settles: bool = True, api: Path | None = None) -> Node:
        """A replica with its end of a link, running; the lab does not know of it yet.

        Args:
            settles: whether its certificate lets it tell what was used.
            api: the socket of an API of one's own.
        """
        home = self.home / process
        home.mkdir()
        home.chmod(0o711)
        asked = request.make(home / "keys", process, DEPLOYMENT)
        mine = secrets.token_hex(6)
        signed = self.authority.sign(asked, process, DEPLOYMENT, mine, settles=settles).decode()
        there = Link(process, DEPLOYMENT, api or home / "api.sock", HOST, free_port(), mine)
        tells = Settlements(home / "gateway.settlements", HOST, self.back.port)
        end = End(there, tells)
        own = Pair(signed, (home / "keys" / request.KEY).read_text())
        files = end.files(own, self.authority.trusted_by_replicas)
        text = conf.node_side([end], self.setting())
        server = Started(home / "links")
        self.stack.enter_context(running(server, text, files))
        replica = self.gateway if api else self.serving(there.socket, process)
        return Node(end, home, server, text, files, replica)

    def link(self, node: Node, process: str = "") -> Link:
        """How the lab has it. ``process``: under another one's name."""
        name = process or node.link.process
        path = self.home / "api" / f"{name}.sock"
        return replace(node.link, process=name, socket=path)

    def text(self, links: Sequence[Link]) -> str:
        return conf.lab_side(links, self.setting(), self.back)

    @property
    def files(self) -> dict[str, str]:
        return conf.lab_files(
            self.authority.gateway(), self.authority.away([DEPLOYMENT]), self.authority.trusted
        )

    def start(self, links: Sequence[Link]) -> None:
        (self.home / "api").mkdir(mode=0o711)
        running_ = running(self.server, self.text(links), self.files)
        self.process = self.stack.enter_context(running_)

    def go_by(self, links: Sequence[Link]) -> bool:
        return self.server.go_by(self.text(links), self.files)


@contextmanager
def linked() -> Iterator[Linked]:
    # Not under pytest's folder: the path of a unix socket may have 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="links-", dir="/tmp"))
    home.chmod(0o711)
    try:
        with ExitStack() as stack:
            yield Linked(home, stack)
    finally:
        shutil.rmtree(home)
