"""The systems that are compared: how each is started, asked, held still and ended.

Only the one that is being measured runs. All others are stopped meanwhile (SIGSTOP), for some
of them use the processor while they wait.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import psutil

from benchmarks.load import Job, Result
from benchmarks.materials import Material
from benchmarks.usage import tree

START = 180.0  # seconds
TOP = Path(__file__).resolve().parents[1]


class Failed(Exception):
    """A system does not start, or does not answer."""


@dataclass(frozen=True)
class Setting:
    """What all systems of one run share.

    Args:
        length: of a summary, as ``generate()`` counts.
        replicas, threads: batches at once, and cores for each of them.
        folder: for logs and labs; its path must be short (unix sockets).
    """

    material: Material
    length: int
    replicas: int
    threads: int
    folder: Path


class System(ABC):
    """One system with one model. ``start`` it, ``ask`` it between ``thaw`` and ``freeze``."""

    def __init__(self, letter: str, setting: Setting) -> None:
        self.letter = letter
        self.setting = setting
        self.log = setting.folder / f"{letter}.log"
        self._met: dict[int, psutil.Process] = {}

    @abstractmethod
    def start(self) -> None:
        """Until it answers.

        Raises:
            Failed: it does not.
        """

    @abstractmethod
    def ask(self, job: Job) -> Result: ...

    @abstractmethod
    def roots(self) -> list[psutil.Process]:
        """The processes whose descendants are the system, and those themselves."""

    @abstractmethod
    def stop(self) -> None:
        """End it, whatever state it is in."""

    def processes(self) -> list[psutil.Process]:
        """All of them, parents first; also those that lost their parents since the last time."""
        for one in tree(self.roots()):
            self._met.setdefault(one.pid, one)
        return [one for one in self._met.values() if one.is_running()]

    def freeze(self) -> None:
        self._signal(self.processes(), signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(reversed(self.processes()), signal.SIGCONT)

    @staticmethod
    def _signal(processes: Any, number: signal.Signals) -> None:
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self.thaw()
        try:
            yield
        finally:
            self.freeze()

    def _failed(self, what: str) -> Failed:
        with contextlib.suppress(OSError):
            what += "\n" + self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
        return Failed(f"({self.letter}) {what}")


class _Process(System):
    """A system that is one command and its children."""

    process: subprocess.Popen[str] | None = None

    @abstractmethod
    def command(self) -> list[str]: ...

    def _spawn(self, environment: dict[str, str], **pipes: Any) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), cwd=TOP, env=os.environ | environment, stderr=log, text=True,
                start_new_session=True, **({"stdout": log} | pipes),
            )  # fmt: skip

    def roots(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return [psutil.Process(self.process.pid)] if self.process else []
        return []

    def stop(self) -> None:
        if self.process is None:
            return
        self.thaw()
        processes = self.processes()
        self.process.terminate()
        _, alive = psutil.wait_procs(processes, timeout=15)
        self._signal(alive, signal.SIGKILL)
        self.process.wait()

    def _until(self, holds: Any, what: str) -> None:
        deadline = time.monotonic() + START
        while not holds():
            if self.process and self.process.poll() is not None:
                raise self._failed(f"ended with exit code {self.process.returncode}")
            if time.monotonic() > deadline:
                raise self._failed(f"not within {START:g} s: {what}")
            time.sleep(0.1)


class Served(_Process):
    """A system that answers HTTP.

    Args:
        module: of ``benchmarks.servers``.
        flags: for it.
        converted: whether it wants the model for CTranslate2.
    """

    def __init__(
        self, letter: str, setting: Setting, module: str, *flags: str,
        converted: bool = False, replicas: int = 0, threads: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(letter, setting)
        self._module, self._flags, self._converted = module, flags, converted
        self._replicas = replicas or setting.replicas
        self._threads = threads or setting.threads
        self._port = free_port()

    def command(self) -> list[str]:
        setting = self.setting
        folder = setting.material.converted if self._converted else setting.material.source
        return [
            sys.executable, "-m", f"benchmarks.servers.{self._module}", str(folder), *self._flags,
            "--port", str(self._port), "--length", str(setting.length),
            "--replicas", str(self._replicas), "--threads", str(self._threads),
        ]  # fmt: skip

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        # Libraries that count the cores by themselves get the same number as those told so.
        self._spawn({"OMP_NUM_THREADS": str(self._threads), "HF_HUB_OFFLINE": "1"})
        self._until(lambda: answers(self.url), "an answer")

    def ask(self, job: Job) -> Result:
        return fire(replace(job, url=self.url))


class Service(_Process):
    """(g) One API process of llmlab on its socket, without a gateway."""

    def __init__(self, letter: str, setting: Setting, settings: str) -> None:
        super().__init__(letter, setting)
        self._settings = setting.folder / f"{letter}.json"
        self._settings.write_text(settings, encoding="utf-8")
        self._socket = setting.folder / f"{letter}.sock"

    def command(self) -> list[str]:
        return [sys.executable, "-P", "-m", "llmlab.service", str(self._settings),
                "--uds", str(self._socket)]  # fmt: skip

    def start(self) -> None:
        self._spawn({})
        self._until(lambda: answers("http://api", "/health/ready", str(self._socket)), "ready")

    def ask(self, job: Job) -> Result:
        return fire(replace(job, url="http://api", uds=str(self._socket)))


class Direct(_Process):
    """(f) CTranslate2 in a process of its own, told over its stdin what to do."""

    def __init__(self, letter: str, setting: Setting, replicas: int, threads: int) -> None:
        super().__init__(letter, setting)
        self._replicas, self._threads = replicas, threads

    def command(self) -> list[str]:
        return [
            sys.executable, "-m", "benchmarks.direct", str(self.setting.material.converted),
            "--port", "0", "--length", str(self.setting.length),
            "--replicas", str(self._replicas), "--threads", str(self._threads),
        ]  # fmt: skip

    def start(self) -> None:
        self._spawn({}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self._line() != "ready\n":
            raise self._failed("it does not start")

    def ask(self, job: Job) -> Result:
        assert self.process
        assert self.process.stdin
        self.process.stdin.write(job_line(job))
        self.process.stdin.flush()
        if not (line := self._line()):
            raise self._failed("it gives no answer")
        return Result.of(line)

    def _line(self) -> str:
        assert self.process
        assert self.process.stdout
        return self.process.stdout.readline()


def fire(job: Job) -> Result:
    """Have the load generator do a job."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"], cwd=TOP, input=job_line(job), text=True,
        capture_output=True,
    )  # fmt: skip
    if done.returncode:
        raise Failed(f"the load generator: {done.stderr[-2000:]}")
    return Result.of(done.stdout)


def job_line(job: Job) -> str:
    return json.dumps(job.document()) + "\n"


def answers(url: str, path: str = "/", uds: str = "") -> bool:
    transport = httpx2.HTTPTransport(uds=uds or None, verify=False)  # no TLS here
    with httpx2.Client(transport=transport, base_url=url, timeout=5) as http:
        try:
            return http.get(path).status_code in (200, 404)
        except httpx2.HTTPError:
            return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
