"""An API process as the child of a Ray actor, and what the actor says of it.

The process ends with its actor and the actor with its process: so Ray, which sees actors, places
a new one for each that is gone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import Any

PR_SET_PDEATHSIG = 1


class Replica:
    """What Ray runs on a node.

    Args:
        settings: a file with what `llmlab.service` is told, there on every node.
        host: the address of this node.
    """

    def __init__(self, settings: str, log: str) -> None:
        import ray.util

        libc = ctypes.CDLL(None)
        self._host = ray.util.get_node_ip_address()
        with socket.create_server((self._host, 0)) as found:
            self._port = found.getsockname()[1]
        with open(log, "ab") as file:  # noqa: PTH123
            # By the main thread: the signal comes when the thread ends that began the process.
            self._api = subprocess.Popen(
                [sys.executable, "-P", "-m", "llmlab.service", settings, "--host", self._host,
                 "--port", str(self._port)],
                stdout=file, stderr=file,
                preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
            )  # fmt: skip
        threading.Thread(target=self._end_with_it, daemon=True).start()

    def _end_with_it(self) -> None:
        self._api.wait()
        os._exit(1)

    def told(self) -> dict[str, Any]:
        """Where it listens, and which processes it is."""
        return {"address": f"{self._host}:{self._port}", "host": self._host,
                "actor": os.getpid(), "api": self._api.pid}  # fmt: skip
