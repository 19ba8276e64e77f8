"""Machines of a Ray cluster, played by processes with addresses of their own on this one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.conftest import LabUnderTest, wait_until

STARTS = 60.0  # seconds on a machine that does other things as well


def addresses(port: int) -> str:
    """The begin of addresses that nobody else uses at the same time, by a lab's port."""
    return f"127.{1 + port // 256 % 250}.{port % 256}"


@dataclass
class Nodes:
    """Those of a lab; ``folder`` for their models and what they say."""

    lab: LabUnderTest
    folder: Path
    head_port: int = 0
    cores: int = 1
    there: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    @property
    def head(self) -> str:
        return f"{addresses(self.lab.port)}.1"

    def address(self, number: int) -> str:
        return f"{addresses(self.lab.port)}.{number}"

    def add(self, *numbers: int) -> None:
        """Have machines join, and wait until they have."""
        for number in numbers:
            host = self.address(number)
            out = (self.folder / f"{number}.log").open("a")
            self.there[host] = subprocess.Popen(
                [sys.executable, "-m", "llmlab", "node", "add", f"{self.head}:{self.head_port}",
                 "--token-file", str(self.lab.lab.state / "ray" / "token"), "--host", host,
                 "--cores", str(self.cores), "--folder", str(self.folder / f"node-{number}")],
                env=self.lab.env, cwd=self.folder, stdout=out, stderr=out, text=True,
            )  # fmt: skip
            out.close()
        wanted = {self.address(number) for number in numbers}
        wait_until(lambda: wanted <= self.ready, STARTS)

    @property
    def ready(self) -> set[str]:
        done = self.lab.run("node", "list", "-o", "json")
        if done.returncode:
            return set()
        return {one["host"] for one in json.loads(done.stdout) if one["state"] == "ready"}

    @property
    def replicas(self) -> dict[str, str]:
        """Process -> the address of its machine."""
        nodes = self.lab.json("node", "list")
        return {name: one["host"] for one in nodes for name in one["replicas"]}

    def kill(self, number: int) -> None:
        """A machine is gone, with all that ran there: nothing of it says a word."""
        process = self.there.pop(self.address(number))
        _kill([psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)])
        process.wait(10)

    def kill_head(self) -> None:
        """GCS and its machine's part of Ray are gone; their supervisor starts them again."""
        (head,) = [
            one for one in psutil.process_iter()
            if "--head" in _argv(one) and f"--node-ip-address={self.head}" in _argv(one)
        ]  # fmt: skip
        _kill([head, *head.children(recursive=True)])

    def end(self) -> None:
        for process in self.there.values():
            process.send_signal(signal.SIGTERM)
        for process in self.there.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            if process.poll() is None:
                process.kill()
                process.wait(10)


@contextlib.contextmanager
def nodes(lab: LabUnderTest, folder: Path) -> Iterator[Nodes]:
    made = Nodes(lab, folder)
    try:
        yield made
    finally:
        made.end()


def _argv(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def _kill(processes: list[psutil.Process]) -> None:
    for number in (signal.SIGSTOP, signal.SIGKILL):  # nobody is to see the others go
        for one in processes:
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                os.kill(one.pid, number)
