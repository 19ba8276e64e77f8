"""An API process of one's own: a model behind the same code as in a lab, without a lab.

python -m llmlab.answers.process PARENT SETTINGS.json --uds SOCKET is ``llmlab.service`` that
ends with the process PARENT that started it, however and whenever that one ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from llmlab.errors import EnvironmentFailure
from llmlab.service.settings import Settings
from llmlab.shell import clean_environment, last_lines

READY_WITHIN = 180.0  # seconds; a large model is read from a slow disk
POLL = 0.05
STOPS_WITHIN = 10.0


@contextmanager
def private_api(settings: Settings) -> Iterator[Path]:
    """Run an API process while the body runs.

    Yields:
        The unix socket that it answers on; nobody else can reach it.

    Raises:
        EnvironmentFailure: it does not start; its log says why.
    """
    with tempfile.TemporaryDirectory(prefix="llmlab-") as name:
        folder = Path(name)
        file, socket, log = folder / "settings.json", folder / "api.sock", folder / "log"
        file.write_text(settings.model_dump_json(), encoding="utf-8")
        command = [sys.executable, "-P", "-m", "llmlab.answers.process", str(os.getpid()),
                   str(file), "--uds", str(socket)]  # fmt: skip
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder,
                env=clean_environment() | {"HF_HUB_OFFLINE": "1"}, start_new_session=True,
            )  # fmt: skip
        try:
            _wait(process, socket, log, settings.name)
            yield socket
        finally:
            _end(process)


def _wait(process: subprocess.Popen[bytes], socket: Path, log: Path, name: str) -> None:
    deadline = time.monotonic() + READY_WITHIN
    transport = httpx2.HTTPTransport(uds=str(socket))
    with httpx2.Client(transport=transport, base_url="http://api", timeout=5) as http:
        while True:
            with contextlib.suppress(httpx2.RequestError):
                if http.get("/health/ready").status_code == 200:
                    return
            if process.poll() is not None or time.monotonic() > deadline:
                state = "does not start" if process.poll() is not None else "is not ready in time"
                raise EnvironmentFailure(
                    f"{name} {state}", fix=f"llmlab models show {name}", log=_readable(log)
                )
            time.sleep(POLL)


def _readable(log: Path) -> str:
    """The last lines, without what only programs want of them."""
    lines = []
    for line in last_lines(log).splitlines():
        try:
            told = json.loads(line)
            lines += [told["message"], *told.get("error", "").splitlines()[-1:]]
        except (ValueError, KeyError, TypeError):
            lines.append(line)
    return "\n".join(lines)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOPS_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_with(parent: int) -> None:
    """End this process once it has another parent than the one that started it.

    That one says who it is: by now, it may be gone already.
    """
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


if __name__ == "__main__":
    from llmlab.service.__main__ import main

    threading.Thread(target=_end_with, args=(int(sys.argv.pop(1)),), daemon=True).start()
    main()
