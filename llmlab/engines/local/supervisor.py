"""supervisord as the lab's process manager: having it run what it should, and asking it."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import sys
import time
import xmlrpc.client
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmlab.engines.local.rpc import supervisord_at
from llmlab.engines.local.started import Started, all_started, forget, forget_starts, read_started
from llmlab.engines.local.supervisor_conf import Program, configuration, section_of, sections_in
from llmlab.errors import EnvironmentFailure
from llmlab.files import locked, write_atomically
from llmlab.lab import Lab, private_folder, refuse_foreign
from llmlab.processes import end, is_supervisor, kill, lab_processes
from llmlab.shell import clean_environment, last_lines, run

START_DEADLINE = 10.0
SHUTDOWN_DEADLINE = 20.0
END_ROUNDS = 2  # what is ended may just have started another one
LOCK_DEADLINE = 300.0  # seconds; who has it may wait for a program to end its last requests
STOP_DEADLINE = 900.0  # seconds; supervisord itself kills what does not end in its time
# Programs that end by themselves. They may be running while others are applied, and it may be
# one of them that asks for it: so they are left as they are, unless they are asked for.
ATTENDANTS = ("controller", "scaler")


@dataclass(frozen=True)
class ProcessState:
    """What the supervisor says of a program. ``uptime`` in seconds; ``memory`` in bytes, of one on
    another machine; ``why`` it has failed, likewise."""

    name: str
    state: str  # STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL, STOPPED; PENDING elsewhere
    pid: int | None
    uptime: float
    memory: int | None = None
    why: str = ""


# A program that the supervisor does not have.
STOPPED = ProcessState("", "STOPPED", None, 0.0)


class Supervisor:
    """The supervisord of one lab. It works in the lab's state folder, as do all its programs."""

    def __init__(self, lab: Lab) -> None:
        refuse_foreign(lab.runtime_dir.parent)
        refuse_foreign(lab.runtime_dir)
        self._lab = lab
        self.conf = lab.state / "supervisord.conf"
        self.socket = lab.runtime_dir / "supervisor.sock"

    # --- what it should run ---------------------------------------------------

    def apply(self, programs: Sequence[Program], *, others: bool = False) -> None:
        """Have exactly these programs running: start what is new or changed, stop the rest.

        Args:
            others: let the rest run on.
        """
        with self._alone():
            sections = [section_of(program) for program in programs]
            running = self.running()
            if running:
                kept = sections_in(self.conf)
                for name in {one.name for one in programs}:
                    kept.pop(name, None)
                sections += [text for name, text in kept.items() if others or name in ATTENDANTS]
            self._write(sections)
            if running:
                self._update({one.name for one in programs})
            else:
                self._start()

    def put(self, program: Program) -> None:
        """Have one more program running, or a changed one; the others go on as they are."""
        with self._alone():
            self._write([*(sections_in(self.conf) | {program.name: section_of(program)}).values()])
            self._update({program.name})

    def drop(self, name: str) -> None:
        """Stop one program; the others go on as they are."""
        with self._alone():
            sections = sections_in(self.conf)
            sections.pop(name, None)
            self._write([*sections.values()])
            self._update()

    def _alone(self) -> AbstractContextManager[None]:
        """Configuration and process are changed together."""
        folder = private_folder(self._lab.state)
        return locked(folder / "supervisor.lock", patience=LOCK_DEADLINE)

    def _write(self, programs: Sequence[str]) -> None:
        write_atomically(self.conf, configuration(self._lab, self.socket, programs))

    def log(self, program: str) -> Path:
        return self._lab.logs / f"{program}.log"

    def error_log(self, program: str) -> Path:
        return self._lab.logs / f"{program}.error.log"

    # --- starting and stopping -------------------------------------------------

    def running(self) -> bool:
        """Whether it answers. One that is stopped, or stuck, does not."""
        try:
            self._rpc().getState()
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return False
        return True

    def revive(self) -> bool:
        """Have one that answers, where the one before died or is stuck. It takes over the
        programs that it finds, and starts those that are gone.

        Returns:
            Whether it had to be started.

        Raises:
            EnvironmentFailure: it does not start.
        """
        with self._alone():
            if self.running():
                return False
            kill(one for one in lab_processes(self._lab.state) if is_supervisor(one))
            self._start()
            return True

    def command(self) -> list[str]:
        """The argument list that starts it, in the lab's state folder."""
        return [sys.executable, "-P", "-m", "supervisor.supervisord", "-c", self.conf.name]

    def _start(self) -> None:
        self.socket.unlink(missing_ok=True)
        result = run(
            self.command(), timeout=START_DEADLINE, cwd=self._lab.state, env=clean_environment()
        )
        deadline = time.monotonic() + START_DEADLINE
        while not self.running():
            if result.code != 0 or time.monotonic() > deadline:
                raise EnvironmentFailure(
                    "supervisord did not start",
                    log=result.output.strip() or last_lines(self._lab.logs / "supervisord.log"),
                )
            time.sleep(0.05)

    def _update(self, asked: Collection[str] = ()) -> None:
        """What `supervisorctl update` does: stop what changed or is gone, start what is new.

        Args:
            asked: the programs that it is about; an attendant that has ended stays so unless
                it is among them.
        """
        with _told():
            self._change(asked)

    def _change(self, asked: Collection[str]) -> None:
        rpc = self._rpc()
        added, changed, removed = rpc.reloadConfig()[0]
        for name in (*changed, *removed):
            with contextlib.suppress(xmlrpc.client.Fault):  # it has none: `_remove` says so
                rpc.stopProcessGroup(name, False)
        for name in (*changed, *removed):
            _remove(rpc, name)
            forget(self._lab.state, name)
        for name in (*added, *changed):
            rpc.addProcessGroup(name)
        for process in self.processes():
            ended = process.state in ("EXITED", "FATAL", "STOPPED")
            if ended and (process.name in asked or process.name not in ATTENDANTS):
                with contextlib.suppress(xmlrpc.client.Fault):
                    rpc.startProcess(process.name, False)

    def shutdown(self) -> bool:
        """Stop everything, whatever state it is in. Returns whether anything was running."""
        with self._alone():  # or somebody who keeps it would start it again
            found = lab_processes(self._lab.state)
            if self.running():
                with contextlib.suppress(OSError, http.client.HTTPException, xmlrpc.client.Error):
                    self._rpc().shutdown()
                deadline = time.monotonic() + SHUTDOWN_DEADLINE
                while self.running() and time.monotonic() < deadline:
                    time.sleep(0.05)
            for _ in range(END_ROUNDS):
                left = lab_processes(self._lab.state)
                # It starts nothing again, and looks but once a second whether it is to end.
                kill(one for one in left if is_supervisor(one))
                end(one for one in left if not is_supervisor(one))
            for name in all_started(self._lab.state):
                forget(self._lab.state, name)
            return bool(found)

    # --- looking ---------------------------------------------------------------

    def processes(self) -> list[ProcessState]:
        """All programs; an empty list when no supervisord answers."""
        try:
            told: Any = self._rpc().getAllProcessInfo()
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return []
        return [
            self._real(
                ProcessState(
                    name=one["name"],
                    state=one["statename"],
                    pid=one["pid"] or None,
                    uptime=float(one["now"] - one["start"]) if one["pid"] else 0.0,
                )
            )
            for one in told
        ]

    def _real(self, told: ProcessState) -> ProcessState:
        """Of a program that was taken over, supervisord knows only who watches it."""
        started = read_started(self._lab.state, told.name) if told.pid else None
        if started and started.pid != told.pid and started.alive(self._lab.state):
            return replace(told, pid=started.pid, uptime=_since(started))
        return told

    def left(self) -> list[ProcessState]:
        """The programs that run, whether or not anybody watches them."""
        return [
            ProcessState(name, "RUNNING", one.pid, _since(one))
            for name, one in all_started(self._lab.state).items()
            if one.alive(self._lab.state)
        ]

    def starts(self, seconds: float) -> dict[str, int]:
        """Program -> how often it was started within the last so many seconds."""
        since = time.time() - seconds
        return {
            name: sum(start >= since for start in one.starts)
            for name, one in all_started(self._lab.state).items()
        }

    def forget_starts(self) -> None:
        """Count them anew: what was wrong was seen to."""
        forget_starts(self._lab.state)

    def state(self, program: str) -> ProcessState:
        """How one program is; STOPPED if the supervisor does not have it."""
        return next((one for one in self.processes() if one.name == program), STOPPED)

    def pid(self, program: str) -> int | None:
        """Of a program that runs, whether or not anybody watches it."""
        started = read_started(self._lab.state, program)
        return started.pid if started and started.alive(self._lab.state) else None

    def signal(self, program: str, number: signal.Signals) -> None:
        """Send a signal to a program, if it runs."""
        if pid := self.pid(program):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _rpc(self) -> Any:
        return supervisord_at(self.socket)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise EnvironmentFailure(
            f"the lab's supervisor does not answer: {error or type(error).__name__}",
            fix="llmlab up",
        ) from error


def _since(started: Started) -> float:
    return max(0.0, time.time() - started.starts[-1]) if started.starts else 0.0


def _remove(rpc: Any, name: str) -> None:
    """Forget a program that was told to stop, once it has.

    Raises:
        xmlrpc.client.Fault: supervisord cannot.
    """
    from supervisor.xmlrpc import Faults

    deadline = time.monotonic() + STOP_DEADLINE
    while True:
        try:
            rpc.removeProcessGroup(name)
            return
        except xmlrpc.client.Fault as fault:
            # It ends what it has in hand.
            if fault.faultCode != Faults.STILL_RUNNING or time.monotonic() > deadline:
                raise
        time.sleep(0.1)
