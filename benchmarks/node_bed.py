"""A lab whose replicas are on nodes: machines, played by processes of this one that have addresses
of their own on loopback, each by `llmlab node add` as a person would start it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import httpx2
import psutil

from benchmarks.lab import command
from benchmarks.systems import START, Failed, free_port
from llmlab.config import Config
from llmlab.config.load import read_config
from llmlab.engines.ray.placed import Placed, read_placement
from llmlab.lab import CONFIG, Lab, init_lab

LAB = """\
engine = "{engine}"
stable = "{stable}"
fallback = ""

[gateway]
port = {port}

[gateway.rate_limit]
enabled = false

[console]
enabled = "off"

[service]
cache = 0
queue = {queue}
replicas = 1
threads = 1
memory = "256m"

[ray]
host = "{host}"
port = {head_port}
link_port = {link_port}
cores = 0

"""
HEAD = 1  # number of the lab's own address; those of nodes follow
ENDS = 30.0  # seconds
LOOKS = 0.1  # seconds between two looks

Span = tuple[float, float]  # monotonic seconds: of the first signal, and when all were gone


def lay_out(folder: Path, engine: str, stable: str, more: str, queue: int = 64) -> Lab:
    """A lab that is not up yet.

    Args:
        stable: the model of its route.
        more: further sections of lab.toml.
    """
    port = free_port()
    lab = Lab(folder)
    folder.mkdir()
    init_lab(folder)
    filled = LAB.format(
        engine=engine, stable=stable, port=port, queue=queue, host=f"{network(port)}.{HEAD}",
        head_port=free_port(), link_port=free_port(),
    )  # fmt: skip
    (folder / CONFIG).write_text(filled + more, encoding="utf-8")
    return lab


def configured(lab: Lab) -> Config:
    return read_config(lab.config_file).config


def network(port: int) -> str:
    """The begin of addresses that nobody else uses at the same time, by a lab's port."""
    return f"127.{1 + port // 256 % 250}.{port % 256}"


@dataclass
class Nodes:
    """Those of a lab.

    Args:
        cores: for replicas, of each node.
        pinned: number of a node -> the core of this machine that is its only one.
    """

    lab: Lab
    cores: int
    pinned: dict[int, int] = field(default_factory=dict)
    there: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    tries: int = 0

    @cached_property
    def config(self) -> Config:
        return configured(self.lab)

    @property
    def head(self) -> str:
        return self.config.ray.host

    def address(self, number: int) -> str:
        return f"{self.head.rpartition('.')[0]}.{number}"

    @property
    def ready(self) -> set[str]:
        """Addresses of those that may have replicas."""
        return {one.host for one in read_placement(self.lab).machines if one.state == "ready"}

    def replicas(self) -> dict[str, Placed]:
        """By process, those that run."""
        found = read_placement(self.lab).replicas
        return {one.process: one for one in found if one.state == "RUNNING"}

    def start(self, number: int) -> None:
        host, pin = self.address(number), self.pinned.get(number)
        folder = self.lab.root.parent / "nodes"
        folder.mkdir(exist_ok=True)
        line = [sys.executable, "-P", "-m", "llmlab", "node", "add",
                f"{self.head}:{self.config.ray.port}", "--host", host,
                "--token-file", str(self.lab.state / "ray" / "token"),
                "--cores", str(self.cores), "--folder", str(folder / host)]  # fmt: skip
        line = line if pin is None else ["taskset", "-c", str(pin), *line]
        self.tries += 1
        with (folder / f"{host}.log").open("ab") as log:
            self.there[host] = subprocess.Popen(line, cwd=folder, stdout=log, stderr=log)

    def joined(self, number: int, seconds: float = START) -> float:
        """Wait until a node that was started is there, and start it again if it ends: a person
        would. Returns the seconds that it took.

        Raises:
            Failed: it is not within so many seconds.
        """
        host, begin = self.address(number), time.monotonic()
        while host not in self.ready:
            if self.there[host].poll() is not None:
                self.start(number)
            if time.monotonic() - begin > seconds:
                said = self.lab.root.parent / "nodes" / f"{host}.log"
                raise Failed(f"no node at {host}:\n{said.read_text()[-2000:]}")
            time.sleep(LOOKS)
        return time.monotonic() - begin

    def kill(self, host: str) -> Span:
        """A machine is gone, with all that ran there: nothing of it says a word."""
        process = self.there.pop(host)
        found = psutil.Process(process.pid)
        took = _kill([found, *found.children(recursive=True)])
        process.wait()
        return took

    def kill_head(self) -> Span:
        """GCS and its machine's part of Ray; their supervisor starts them again."""
        return _kill([
            each
            for one in psutil.process_iter()
            if {"--head", f"--node-ip-address={self.head}"} <= set(_argv(one))
            for each in (one, *one.children(recursive=True))
        ])  # fmt: skip

    @property
    def head_answers(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection((self.head, self.config.ray.port), 1).close()
            return True
        return False

    def end(self) -> None:
        for process in self.there.values():
            process.send_signal(signal.SIGTERM)
        for process in self.there.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(ENDS)
            if process.poll() is None:
                process.kill()
                process.wait()


@contextlib.contextmanager
def nodes(
    lab: Lab, numbers: Sequence[int], cores: int = 1, pinned: dict[int, int] | None = None
) -> Iterator[Nodes]:
    """A lab that is up, and these nodes of it."""
    found = Nodes(lab, cores, pinned or {})
    with _log(lab).open("ab") as log:
        up = subprocess.Popen(
            [sys.executable, "-P", "-m", "llmlab", "up"], cwd=lab.root, stdout=log, stderr=log
        )
    try:
        # It waits for a node that has room, so they join meanwhile.
        until(lambda: found.head_answers or up.poll() is not None, "a head", lab)
        for number in numbers:
            found.start(number)
        until(lambda: up.poll() is not None, "llmlab up", lab, 2 * START)
        if up.returncode:
            raise Failed(f"llmlab up: {_log(lab).read_text()[-2000:]}")
        for number in numbers:
            found.joined(number)
        yield found
    finally:
        if up.poll() is None:
            up.terminate()
            up.wait()
        found.end()
        command(lab, "down")  # what it leaves would weigh upon whatever is measured next


def serves(lab: Lab, process: str) -> bool:
    """Whether a replica answers, asked where the gateway asks it."""
    over = httpx2.HTTPTransport(uds=str(lab.api_socket(process)), verify=False)
    with (
        contextlib.suppress(httpx2.HTTPError),
        httpx2.Client(transport=over, base_url="http://api", timeout=2) as http,
    ):
        return http.get("/health/ready").status_code == 200
    return False


def status(lab: Lab) -> dict[str, object]:
    return dict(json.loads(command(lab, "status", "-o", "json")))


def until(holds: Callable[[], bool], what: str, lab: Lab, seconds: float = START) -> float:
    """
    Raises:
        Failed: it does not within so many seconds.
    """
    begin = time.monotonic()
    while not holds():
        if time.monotonic() - begin > seconds:
            said = _log(lab).read_text()[-2000:] if _log(lab).exists() else ""
            raise Failed(f"not within {seconds:g} s: {what}\n{said}")
        time.sleep(LOOKS)
    return time.monotonic() - begin


def _log(lab: Lab) -> Path:
    return lab.root.with_suffix(".log")


def _argv(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def _kill(processes: Sequence[psutil.Process]) -> Span:
    begin = time.monotonic()
    for number in (signal.SIGSTOP, signal.SIGKILL):  # nobody is to see the others go
        for one in processes:
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                os.kill(one.pid, number)
    while not all(_is_gone(one) for one in processes):
        time.sleep(0.002)
    return begin, time.monotonic()


def _is_gone(process: psutil.Process) -> bool:
    """Nothing of it is open any more, be it that nobody has asked yet how it ended."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
