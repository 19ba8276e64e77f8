"""Become a program, or look after the one that runs: python -m llmlab.engines.local.launch \
NAME PATIENCE COMMAND...

Started by a supervisor in the lab's state folder. Where a supervisor died, its programs go on;
the next one starts this for each of them. As long as the process from before lives, this waits
for it and passes signals on, so that the new supervisor has it as if it were its own, and no
request is lost. Then, or at once where there is none, this becomes the program.

What the program prints goes to files that are opened here: nobody has to read a pipe, or the
program would stop at a full one.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from llmlab.engines.local.started import Started, read_started, write_started
from llmlab.rotation import is_full, rotate

MODULE = "llmlab.engines.local.launch"
PASSED_ON = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
ENDING = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT)
BEFORE_THE_SUPERVISOR = 1.0  # seconds: it kills only this process
LOOK = 0.2  # seconds


def main() -> None:
    name, patience, *command = sys.argv[1:]
    state = Path.cwd()
    _print_to_files(state / "logs", name)
    before = read_started(state, name)
    if before and before.pid != os.getpid() and before.alive(state):
        other = _Other(before, float(patience))
        if before.command != command:
            other.end(signal.SIGTERM)
        if other.outlived():
            sys.exit(0)  # it was ended on purpose
        for number in PASSED_ON:
            signal.signal(number, signal.SIG_DFL)
    try:
        write_started(state, name, command)
    except OSError as error:  # a full disk is no reason not to serve
        print(f"{name} cannot be taken over if the supervisor dies: {error}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvp(command[0], command)


class _Other:
    """A process that is not our child."""

    def __init__(self, started: Started, patience: float) -> None:
        self._pid = started.pid
        self._patience = patience
        self._asked = False
        self._deadline = float("inf")
        # Linux: told at once, and never of another process that has got the pid.
        with contextlib.suppress(AttributeError, OSError):
            self._handle = os.pidfd_open(self._pid)
        for number in PASSED_ON:
            signal.signal(number, self._pass_on)

    def outlived(self) -> bool:
        """Wait for its end. Returns whether we were asked to bring that about."""
        while not self._gone():
            if time.monotonic() > self._deadline:
                self._kill()
        return self._asked

    def end(self, number: int) -> None:
        self._deadline = time.monotonic() + max(0.0, self._patience - BEFORE_THE_SUPERVISOR)
        self._send(number)

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        if number in ENDING:
            self._asked = True
            self.end(number)
        else:
            self._send(number)

    def _send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self._pid, number)

    def _kill(self) -> None:
        self._deadline = time.monotonic() + LOOK
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, signal.SIGKILL)  # the supervisor made it a leader

    def _gone(self) -> bool:
        """Wait a moment for it."""
        if hasattr(self, "_handle"):
            return bool(select.select([self._handle], [], [], LOOK)[0])
        time.sleep(LOOK)
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return True
        return False


def _print_to_files(folder: Path, name: str) -> None:
    """stdout goes to NAME.log and stderr to NAME.error.log, at their ends."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    for number, file in ((1, folder / f"{name}.log"), (2, folder / f"{name}.error.log")):
        try:
            if is_full(file):
                rotate(file)
            opened = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError:  # a full disk: rather no log than no lab
            opened = os.dup(nothing)
        os.dup2(opened, number)
        os.close(opened)
    os.close(nothing)


def command(name: str, patience: float, program: Sequence[str]) -> list[str]:
    """The argument list that starts a program by this."""
    return [sys.executable, "-P", "-m", MODULE, name, f"{patience:g}", *program]


if __name__ == "__main__":
    main()
