"""One API process under test: the service on a unix socket, without a gateway in front."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import clean_env

T = TypeVar("T")
JSON = "application/json"
PROBLEM = "application/problem+json"
TEXTRANK = {"runtime": "extractive", "source": "embedded:textrank"}
T5 = {"runtime": "transformers", "source": "path:model", "max_length": 40, "min_length": 5}
PROMPT = Path(__file__).parents[1] / "configs" / "prompts" / "summarize.md"
LANGUAGE_MODEL = {
    "runtime": "llamacpp", "source": "path:model", "context": 512, "slots": 2, "max_length": 40,
    "decoding": {"seed": 7},
}  # fmt: skip
SENTENCE = "The keeper lit the lamp at dusk and a ship far out at sea read its light."


def wait_until(holds: Callable[[], T], what: str, seconds: float = 60.0) -> T:
    """Poll until ``holds`` gives something true, and give that."""
    deadline = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)
    return value


def as_http(body: dict[str, Any]) -> bytes:
    """A summarize request as it goes over a connection."""
    content = json.dumps(body).encode()
    head = f"POST /summarize/ HTTP/1.1\r\nHost: api\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


class Api:
    """One API process, its settings, its socket and what it wrote."""

    def __init__(
        self,
        model: dict[str, Any],
        folder: Path | None = None,
        *,
        guards: Sequence[dict[str, Any]] = (),
        **service: Any,
    ) -> None:
        # Not under pytest's folder: the path of a unix socket may have 107 bytes.
        self.home = Path(tempfile.mkdtemp(prefix="api-", dir="/tmp"))
        chats = model["runtime"] == "llamacpp"
        self.name = "smollm2" if chats else "tiny" if folder else "textrank"
        self.socket = self.home / "sock"
        self.waking: list[httpx2.Response] = []  # what it answered before it was ready
        document = {
            "deployment": f"{self.name}-blue", "name": self.name, "model": model,
            "folder": str(folder) if folder else None, "service": service,
            "prompt": PROMPT.read_text() if chats else "", "guards": list(guards),
        }  # fmt: skip
        (self.home / "settings.json").write_text(json.dumps(document))

    def start(
        self, *python: str, port: int | None = None, env: dict[str, str] | None = None
    ) -> Api:
        """Start the process; ``python`` are options of the interpreter, ``port`` is another way
        to it than its socket."""
        command = [
            sys.executable, *python, "-m", "llmlab.service", str(self.home / "settings.json"),
            "--uds", str(self.socket), *([] if port is None else ["--port", str(port)]),
        ]  # fmt: skip
        with (self.home / "stdout").open("ab") as out, (self.home / "stderr").open("ab") as err:
            self.process = subprocess.Popen(
                command, cwd=self.home, env=clean_env() | (env or {}), stdout=out, stderr=err
            )
        return self

    def until_ready(self) -> Api:
        wait_until(self._is_ready, "the API is ready")
        return self

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, f"{self.stdout}\n{self.stderr}"
        with contextlib.suppress(httpx2.ConnectError):
            if self.get("/health/ready").status_code == 200:
                return True
            with self.client() as client:
                self.waking.append(client.get("/health/live"))
                self.waking.append(client.get("/health/ready"))
                self.waking.append(client.post("/summarize/", json={"text": SENTENCE}))
        return False

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        shutil.rmtree(self.home)

    def client(self) -> httpx2.Client:
        # No TLS here, and reading the certificates anew for each client takes its time.
        transport = httpx2.HTTPTransport(uds=str(self.socket), verify=False)
        return httpx2.Client(transport=transport, base_url="http://api", timeout=120)

    def request(self, method: str, path: str, **how: Any) -> httpx2.Response:
        with self.client() as client:
            return client.request(method, path, **how)

    def get(self, path: str, **how: Any) -> httpx2.Response:
        return self.request("GET", path, **how)

    def summarize(self, text: str, **parameters: Any) -> httpx2.Response:
        return self.request("POST", "/summarize/", json={"text": text, **parameters})

    def post(self, body: bytes | Iterator[bytes], content_type: str = JSON) -> httpx2.Response:
        headers = {"Content-Type": content_type}
        return self.request("POST", "/summarize/", content=body, headers=headers)

    def connect(self) -> socket.socket:
        """A bare connection, for what no HTTP client would send."""
        bare = socket.socket(socket.AF_UNIX)
        bare.settimeout(10)
        bare.connect(str(self.socket))
        return bare

    def raw(self, data: bytes) -> bytes:
        """Send bytes, and give all that comes until the API closes the connection."""
        answer = b""
        with self.connect() as bare:
            with contextlib.suppress(BrokenPipeError):
                bare.sendall(data)
            # A connection closed while the client still sends is reset after the answer.
            with contextlib.suppress(ConnectionResetError):
                while part := bare.recv(65536):
                    answer += part
        return answer

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.get("/metrics").text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    @property
    def waiting(self) -> int:
        """Requests that wait or run."""
        return int(self.metric("llmlab_queue_waiting"))

    def until_at_work(self) -> None:
        """Until the model has begun with all that waits."""
        wait_until(
            lambda: self.metric("llmlab_running_texts") and not self.metric("llmlab_queue_texts"),
            "the model is at work",
        )

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep the model of a tiny T5 at work until the end of the block, when the client of a
        long summary hangs up."""
        text = f"{SENTENCE} {time.monotonic_ns()}"  # one that is not in the cache
        body = {"text": text, "max_length": 4000, "min_length": 4000}
        with self.connect() as bare:
            bare.sendall(as_http(body))
            self.until_at_work()
            yield

    @property
    def stdout(self) -> str:
        return (self.home / "stdout").read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        return (self.home / "stderr").read_text(encoding="utf-8")

    def logged(self, request_id: str) -> list[dict[str, Any]]:
        """The lines of the log that name this request; they follow the answer."""
        wait_until(lambda: request_id in self.stdout, f"a line about {request_id}", 10)
        return [json.loads(line) for line in self.stdout.splitlines() if request_id in line]
