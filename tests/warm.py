"""A process that has torch and transformers in memory, and forks whoever needs them:
python -m tests.warm FOLDER PID

To import them takes ten seconds of processor time, and a hundred tests run something that does. So
one process of a whole run does it once. It is started by who needs it first, is asked through a
socket in FOLDER, and ends with the process PID, which has begun the tests. What it has forked is
killed if whoever asked for that is gone. Programs that are themselves killed by tests, and those
that a lab runs, are started as they are everywhere else.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from llmlab.shell import Result
from tests import command

WHERE = "WARM_TESTS"  # the variable that names the folder, and the process to end with
MODULES = (
    *command.PRELOADED, "llmlab.models.converter", "llmlab.tune.tune", "llmlab.tune.training",
    "transformers.models.t5.modeling_t5", "transformers.models.bart.modeling_bart",
    "transformers.models.llama.modeling_llama",
    "transformers.trainer", "peft", "accelerate", "gguf", "llmlab.tune.causal",
)  # fmt: skip
HEAVY = ("tune",)  # verbs
CONVERTER = "llmlab.models.converter"
LARGEST = 1 << 17  # bytes of a question


def announce() -> None:
    """Let all processes of this run have one; call it before they are started."""
    if WHERE not in os.environ and hasattr(os, "pidfd_open"):
        os.environ[WHERE] = f"{os.getpid()}:{tempfile.mkdtemp(prefix='warm-')}"


def is_announced(env: Mapping[str, str]) -> bool:
    return WHERE in env


def run(module: str, *arguments: str, cwd: Path, env: Mapping[str, str], stdin: str,
        timeout: float) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Have ``python -m MODULE`` run by a forked process, and give what it printed.

    Raises:
        TimeoutError: it took longer; it is ended.
    """
    with command.files(stdin) as files, _ask(env[WHERE]) as asked:
        question = {"module": module, "arguments": arguments, "cwd": str(cwd), "env": dict(env),
                    "files": files.names}  # fmt: skip
        asked.send(json.dumps(question).encode())
        asked.settimeout(timeout)
        answer = asked.recv(LARGEST)
        assert answer, "what forks is gone"
        return subprocess.CompletedProcess([module, *arguments], json.loads(answer), *files.said())


def convert(argv: Sequence[str], *, timeout: float, env: Mapping[str, str]) -> Result:
    """In the place of ``shell.run`` in ``llmlab.models.convert``."""
    assert list(argv[:4]) == [sys.executable, "-P", "-m", CONVERTER], argv
    more = {WHERE: os.environ[WHERE]}
    done = run(
        CONVERTER, *argv[4:], cwd=Path.cwd(), env={**env, **more}, stdin="", timeout=timeout
    )  # fmt: skip
    return Result(done.returncode, done.stderr + done.stdout)  # it ends with what it refuses


def _ask(where: str) -> socket.socket:
    """A connection to the process, which is started if there is none."""
    pid, _, folder = where.partition(":")
    address = os.path.join(folder, "socket")
    asked = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with FileLock(os.path.join(folder, "lock")):
        if not os.path.exists(address):
            with open(os.path.join(folder, "log"), "w") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "tests.warm", folder, pid], start_new_session=True,
                    cwd=Path(__file__).parents[1], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )  # fmt: skip
            while not os.path.exists(address):
                assert process.poll() is None, Path(folder, "log").read_text()
                time.sleep(0.05)
    asked.connect(address)
    return asked


# --- the process ------------------------------------------------------------------------------


class _Forks:
    def __init__(self, listener: socket.socket, ends: int) -> None:
        self.listener, self.ends = listener, ends
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ, self._accept)
        self.selector.register(ends, selectors.EVENT_READ, None)
        self.pids: dict[socket.socket, tuple[int, int]] = {}  # a child, and its pidfd

    def serve(self) -> None:
        while True:
            for key, _ in self.selector.select():
                if key.fd == self.ends:
                    return
                key.data(key.fileobj)

    def _accept(self, listener: socket.socket) -> None:
        asked, _ = listener.accept()
        self.selector.register(asked, selectors.EVENT_READ, self._read)

    def _read(self, asked: socket.socket) -> None:
        if question := asked.recv(LARGEST):
            self._fork(asked, json.loads(question))
            return
        self.selector.unregister(asked)
        if running := self.pids.pop(asked, None):
            os.kill(running[0], signal.SIGKILL)
            self._reap(*running)
        asked.close()

    def _fork(self, asked: socket.socket, question: dict[str, Any]) -> None:
        if child := os.fork():
            pidfd = os.pidfd_open(child)
            self.pids[asked] = (child, pidfd)
            self.selector.register(pidfd, selectors.EVENT_READ, lambda _: self._ended(asked))
            return
        os.setpgid(0, 0)
        self.selector.close()
        self.listener.close()
        for one in (asked, *self.pids):
            one.close()
        command.exit_with(**question)

    def _ended(self, asked: socket.socket) -> None:
        asked.send(json.dumps(self._reap(*self.pids.pop(asked))).encode())

    def _reap(self, child: int, pidfd: int) -> int:
        self.selector.unregister(pidfd)
        os.close(pidfd)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    folder, pid = sys.argv[1:]
    ends = os.pidfd_open(int(pid))
    for module in MODULES:
        importlib.import_module(module)
    gc.freeze()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(os.path.join(folder, ".socket"))
        listener.listen(64)
        os.rename(os.path.join(folder, ".socket"), os.path.join(folder, "socket"))
        _Forks(listener, ends).serve()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
