"""Ray nodes on this machine, each with an address of its own on loopback, to be killed.

A node is all the processes of the session that `ray start` begins, whoever their parent is by now.
Groups do not tell, for each actor has its own; nor does an environment, which some of Ray's
processes write their titles over.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.systems import TOP, Failed

START = 120.0  # seconds; Python imports ray three times until a node is there
AWAY = 86400  # seconds: how long raylets, workers and drivers wait for a head
# 127.0.0.1 is replaced by the machine's own address; others of loopback are kept.
ADDRESS = "127.0.0.{}"
FIRST, PORTS, APART = 41, 24000, 100


@dataclass(frozen=True)
class Cluster:
    """What all nodes of one run share.

    Args:
        folder: private and with a short path: a raylet's socket lies in it.
        storage: where the head keeps what it knows, "rocksdb" or "memory".
        patient: whether everyone waits for a head that is away, or 60 s as Ray does by itself.
        further: settings of Ray, instead of those here.
        first: the last part of the head's address; those of the nodes follow it.
        ports: the head's own; each node has a hundred.
    """

    folder: Path
    storage: str = "rocksdb"
    patient: bool = True
    further: Mapping[str, str] = field(default_factory=dict)
    first: int = FIRST
    ports: int = PORTS

    @property
    def token(self) -> Path:
        return self.folder / "token"

    @property
    def address(self) -> str:
        """The head's."""
        return f"{ADDRESS.format(self.first)}:{self.ports}"

    def make_token(self) -> None:
        self.token.touch(0o600, exist_ok=False)
        self.token.write_text(secrets.token_hex(32), encoding="utf-8")

    def environment(self) -> dict[str, str]:
        """Of every process that is to be one of it. Ray reads it when it is imported."""
        settings = {
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_raylet_start_wait_time_s": str(round(START)),
            "RAY_gcs_storage": self.storage,
            "RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "2000",
            "RAY_health_check_failure_threshold": "3",
            "RAY_enable_worker_prestart": "0", "RAY_prestart_worker_first_driver": "0",
        }  # fmt: skip
        if self.storage == "rocksdb":
            settings["RAY_gcs_storage_path"] = str(self.folder / "gcs")
        if self.patient:
            settings["RAY_gcs_rpc_server_reconnect_timeout_s"] = str(AWAY)
        return settings | self.further


class Node:
    """One node. ``number`` is its place in the cluster, 0 the head's."""

    def __init__(self, cluster: Cluster, number: int, cores: int = 1) -> None:
        self.cluster, self.number = cluster, number
        self.cores = 0 if number == 0 else cores  # a head has no replicas
        self.address = ADDRESS.format(cluster.first + number)
        self.temp = cluster.folder / str(number)
        self.log = cluster.folder / f"{number}.log"
        self._sessions: set[int] = set()

    def command(self) -> list[str]:
        """Of `ray start`. All nodes listen on all of this machine's addresses: so each has ports
        of its own."""
        port = self.cluster.ports + APART * self.number
        where = (
            ["--head", f"--port={port}", "--include-dashboard=false"]
            if self.number == 0
            else [f"--address={self.cluster.address}"]
        )
        return [
            sys.executable, "-m", "ray.scripts.scripts", "start", *where,
            f"--node-ip-address={self.address}", f"--num-cpus={self.cores}",
            "--object-store-memory=80000000", f"--temp-dir={self.temp}",
            f"--node-manager-port={port + 1}", f"--object-manager-port={port + 2}",
            f"--runtime-env-agent-port={port + 3}", f"--dashboard-agent-grpc-port={port + 4}",
            f"--dashboard-agent-listen-port={port + 5}", f"--metrics-export-port={port + 6}",
            f"--min-worker-port={port + 10}", f"--max-worker-port={port + 60}",
            "--include-log-monitor=false", "--disable-usage-stats", "--block",
        ]  # fmt: skip

    def start(self) -> None:
        # A head does not start where this names its address while raylets of this machine know
        # that one too; here they do, for all nodes are on one machine.
        (self.temp / "ray_current_cluster").unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), cwd=TOP, stdout=log, stderr=log, start_new_session=True,
                env=os.environ | self.cluster.environment(),
            )  # fmt: skip
        self._sessions.add(self.process.pid)
        deadline = time.monotonic() + START
        while not self._up():
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
                raise Failed(f"node {self.number} does not come up:\n{said}")
            time.sleep(0.2)

    def _up(self) -> bool:
        return b"Ray runtime started" in self.log.read_bytes().rpartition(b"\0")[2]

    def processes(self) -> list[psutil.Process]:
        """All of it that runs, in no order."""
        found = []
        for one in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if os.getsid(one.pid) in self._sessions:
                    found.append(one)
        return [one for one in found if one.status() != psutil.STATUS_ZOMBIE]

    def raylets(self) -> list[psutil.Process]:
        return [one for one in self.processes() if _name(one) == "raylet"]

    def kill(self) -> None:
        """All of it at once, as when a machine loses its power."""
        while alive := self.processes():
            for one in alive:
                with contextlib.suppress(psutil.Error):
                    one.suspend()  # so that none starts another one meanwhile
            for one in alive:
                with contextlib.suppress(psutil.Error):
                    one.kill()
            psutil.wait_procs(alive, timeout=5)
        self._sessions.clear()
        with self.log.open("ab") as log:
            log.write(b"\0")  # what is said from now on is another start's


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return process.name()
    return ""
