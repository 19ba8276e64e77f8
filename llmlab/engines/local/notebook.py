"""The notebook server as one of a running lab's processes."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import time
from pathlib import Path

import httpx2

from llmlab.engines.address import check_notebook_port
from llmlab.engines.base import Say
from llmlab.engines.local.supervisor import Supervisor
from llmlab.engines.local.supervisor_conf import Program
from llmlab.engines.local.waiting import pause
from llmlab.errors import EnvironmentFailure
from llmlab.files import write_atomically
from llmlab.lab import Lab, private_folder
from llmlab.network import listening
from llmlab.notebook import access
from llmlab.notebook.launch import CANNOT_START

NOTEBOOK = "jupyter"
DEADLINE = 90.0  # seconds; the first start on a slow disk
EXTRA = "pip install 'llmlab[notebook]'"


class NotebookServer:
    """Started by ``start``, it stays until the lab goes down.

    Its port is kept in .llmlab/jupyter/port while it is meant to run: so an `up` of the
    running lab knows that it belongs there.
    """

    def __init__(self, lab: Lab, supervisor: Supervisor) -> None:
        self._lab = lab
        self._supervisor = supervisor

    @property
    def _file(self) -> Path:
        return self._lab.state / "jupyter" / "port"

    @property
    def _port(self) -> int | None:
        """Where it is meant to run; None if it is not."""
        try:
            return int(self._file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def programs(self) -> list[Program]:
        """The process that an `up` has to keep, if there is one."""
        return [] if self._port is None else [self._program(self._port)]

    def _program(self, port: int) -> Program:
        # Another token is another file, so another command: the supervisor replaces the process.
        command = [
            sys.executable, "-P", "-m", "llmlab.notebook.launch", str(self._lab.root), str(port),
            str(access.token_file(self._lab)),
        ]  # fmt: skip
        return Program(NOTEBOOK, tuple(command), final_exit=CANNOT_START)

    def start(self, default: int, say: Say, *, port: int | None = None) -> str:
        """Start it on ``port``; without one, where it runs already, or on ``default``.

        Returns:
            The URL, with the token.

        Raises:
            EnvironmentFailure: no JupyterLab, the port is taken, or it does not come up.
        """
        if importlib.util.find_spec("jupyterlab") is None:
            raise EnvironmentFailure("the notebook needs JupyterLab", fix=EXTRA)
        before = self._port
        wanted = port or before or default
        if not (before == wanted and self._supervisor.state(NOTEBOOK).pid):
            check_notebook_port(wanted)
            say(f"starting JupyterLab on port {wanted}")
        try:
            self._settle(wanted)
            self._wait(wanted)
        except BaseException:
            self._settle(before)
            raise
        return access.url(wanted, access.token(self._lab))

    def _settle(self, port: int | None) -> None:
        if port is None:
            self.forget()
            self._supervisor.drop(NOTEBOOK)
            return
        private_folder(self._file.parent)
        write_atomically(self._file, f"{port}\n")
        with contextlib.suppress(OSError):  # JupyterLab says what is wrong with it
            (self._lab.root / "notebooks").mkdir(exist_ok=True)
        self._supervisor.put(self._program(port))

    def follow_keys(self) -> None:
        """Have a running server take the token that goes with the keys as they are now."""
        for program in self.programs():
            self._supervisor.put(program)

    def forget(self) -> None:
        """It is not meant to run any more."""
        with contextlib.suppress(OSError):  # a read-only disk: then the lab is not up either
            self._file.unlink(missing_ok=True)

    def url(self) -> str:
        """The address with the token; "" if no server runs."""
        port = self._running_on()
        return access.url(port, access.token(self._lab)) if port else ""

    def address(self) -> str:
        """The address without the token; "" if no server runs."""
        port = self._running_on()
        return access.address(port) if port else ""

    def _running_on(self) -> int | None:
        return self._port if self._port and self._supervisor.pid(NOTEBOOK) else None

    def _wait(self, port: int) -> None:
        deadline = time.monotonic() + DEADLINE
        while not self._answers(port):
            pause(self._supervisor, NOTEBOOK, deadline, fix=f"llmlab logs {NOTEBOOK} has all of it")

    def _answers(self, port: int) -> bool:
        """Whether our own process listens, which alone is shown the token, and takes it."""
        if (access.HOST, port) not in listening(self._supervisor.pid(NOTEBOOK)):
            return False
        headers = {"Authorization": f"token {access.token(self._lab)}"}
        asked = f"http://{access.HOST}:{port}/api/status"
        try:
            found = httpx2.get(asked, headers=headers, timeout=2, trust_env=False)
        except httpx2.HTTPError:
            return False
        return found.status_code == 200
