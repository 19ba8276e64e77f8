"""A native ``llama-server`` as a child process: faster than the library, which is built for any
processor. It listens on a unix socket and wants a key, which is in its environment only.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from llmlab.errors import ModelUnavailable
from llmlab.runtimes.gguf import Shape
from llmlab.runtimes.room import MIB, Room

log = logging.getLogger("llmlab.service")

PROGRAM = "llama-server"
# Threads wait for each other after every layer. By default they do so busily, and where others
# want the cores as well (a second version, at a rollout), whom they wait for does not get one: 2
# threads on two busy cores wrote 1 token/s instead of 41.
PASSIVE = ("OMP_WAIT_POLICY", "passive")
LOADING = 600.0  # seconds, for tens of gigabytes from a slow disk
LOOK = 0.05
ENDING = 5.0
TOLD = 20  # last lines of what it printed, where it does not start
LONGEST_LINE = 4096  # bytes; a longer one is told in pieces


def find(named: str = "", environ: Mapping[str, str] | None = None) -> str | None:
    """The llama-server to run: the one that is named, or the one on PATH.

    Raises:
        ModelUnavailable: the one that is named is not there.
    """
    path = (os.environ if environ is None else environ).get("PATH")
    found = shutil.which(named or PROGRAM, path=path)
    if named and not found:
        raise ModelUnavailable(
            f"there is no program {named}",
            fix='correct service.llama_server in configs/lab.toml, or set it to ""',
        )
    return found


def command(program: str, file: Path, shape: Shape, room: Room, socket: Path) -> list[str]:
    """How to start it."""
    return [
        program, "--model", str(file), "--host", str(socket),
        "--ctx-size", str(room.context * room.slots), "--parallel", str(room.slots),
        "--threads", str(room.threads), "--threads-batch", str(room.threads),
        "--jinja", "--no-webui", *(["--embeddings"] if shape.embeds else []),
    ]  # fmt: skip


def environment(room: Room, key: str) -> dict[str, str]:
    """What it is told beside: what older ones do not know is passed over there."""
    return {
        "LLAMA_API_KEY": key,
        PASSIVE[0]: PASSIVE[1],
        "LLAMA_ARG_CACHE_RAM": str(room.kept // MIB),
        "LLAMA_ARG_NO_KV_UNIFIED": "1",
        "LLAMA_ARG_NO_CONTEXT_SHIFT": "1",  # an answer ends with the context, and is not cut into
    }


class Child:
    """A program that runs as long as this process does, and no longer.

    Args:
        died: called when it ends by itself.
    """

    def __init__(
        self,
        command: list[str],
        environment: Mapping[str, str],
        died: Callable[[int], None],
    ) -> None:
        # Not a file: it prints some lines for each request, for as long as it runs.
        self._printed: deque[bytes] = deque(maxlen=TOLD)
        self._died = died
        self._started = threading.Event()
        self._ending = False
        self._process: subprocess.Popen[bytes] | None = None
        self._failed: OSError | None = None
        bound = [sys.executable, "-m", "llmlab.runtimes.bound", str(os.getpid()), *command]
        # A thread of its own, which lives as long as the child: see ``bound``.
        self._thread = threading.Thread(
            target=self._run, args=(bound, dict(environment)), name=PROGRAM, daemon=True
        )
        self._thread.start()
        self._started.wait()
        if self._failed:
            raise self._failed

    def _run(self, command: list[str], environment: dict[str, str]) -> None:
        try:
            self._process = subprocess.Popen(
                command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
            self._reader.start()
        except OSError as error:
            self._failed = error
            return
        finally:
            self._started.set()
        code = self._process.wait()
        self._reader.join(ENDING)
        if not self._ending:
            log.error("%s ended with %d: %s", PROGRAM, code, self.last_lines())
            self._died(code)

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        with process.stdout as printed:
            while line := printed.readline(LONGEST_LINE):
                self._printed.append(line)

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def last_lines(self) -> str:
        """Of what it printed."""
        if self.ended:
            self._reader.join(ENDING)
        said = b"".join(list(self._printed)).decode(errors="replace")
        return "\n".join(said.splitlines()[-TOLD:])

    def until(self, ready: Callable[[], bool], seconds: float = LOADING) -> None:
        """Wait until it is ready.

        Raises:
            ModelUnavailable: it ended instead, or took too long.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if self.ended or time.monotonic() > deadline:
                how = "ended at its start" if self.ended else f"was not ready in {seconds:g} s"
                said = self.last_lines()
                self.end()
                raise ModelUnavailable(
                    f"{PROGRAM} {how}",
                    fix='llama_server = "none" under [service] runs the model by xllamacpp instead',
                    log=said,
                )
            time.sleep(LOOK)

    def end(self) -> None:
        self._ending = True
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(ENDING)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
