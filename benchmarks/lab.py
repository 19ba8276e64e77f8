"""(h) A whole lab: llmlab's service behind its gateway, asked with a token."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import psutil

from benchmarks.load import Job, Result
from benchmarks.systems import Failed, Setting, System, fire, free_port
from llmlab.lab import CONFIG, Lab, init_lab
from llmlab.processes import lab_processes

LAB = """\
engine = "local"
stable = "bench"
fallback = ""

[gateway]
port = {port}

[gateway.rate_limit]
enabled = false

[service]
cache = 0
queue = {queue}
replicas = {replicas}
threads = {threads}

[models.bench]
runtime = "ctranslate2"
source = "path:{source}"
max_length = {length}
min_length = {length}
"""


class ThroughGateway(System):
    """A lab in a folder of its own, brought up and down by the command.

    Args:
        queue: requests that may wait.
    """

    def __init__(self, letter: str, setting: Setting, queue: int) -> None:
        super().__init__(letter, setting)
        self._port = free_port()
        self._token = ""
        self.lab = Lab(setting.folder / f"lab-{letter}")
        self.lab.root.mkdir()
        init_lab(self.lab.root)
        filled = LAB.format(
            port=self._port, queue=queue, replicas=setting.replicas, threads=setting.threads,
            source=setting.material.source, length=setting.length,
        )  # fmt: skip
        (self.lab.root / CONFIG).write_text(filled, encoding="utf-8")

    def start(self) -> None:
        command(self.lab, "up")
        self._token = command(self.lab, "token", "--sub", "bench", "--ttl", "2h").strip()

    def ask(self, job: Job) -> Result:
        headers = {"Authorization": f"Bearer {self._token}"}
        return fire(replace(job, url=f"http://127.0.0.1:{self._port}", headers=headers))

    def roots(self) -> list[psutil.Process]:
        return lab_processes(self.lab.state)

    def stop(self) -> None:
        self.thaw()
        command(self.lab, "down")


def command(lab: Lab, *arguments: str) -> str:
    """What a verb of llmlab prints.

    Raises:
        Failed: it ends with an error.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LLMLAB_") or name == "LLMLAB_HOME"
    }
    done = subprocess.run(
        [sys.executable, "-P", "-m", "llmlab", *arguments],
        cwd=lab.root, env=kept, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise Failed(f"llmlab {arguments[0]}: {done.stderr}")
    return done.stdout
