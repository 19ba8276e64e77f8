"""Look after a lab's processes, and after who starts them:
python -m llmlab.engines.local.keeper LAB

supervisord starts again what ended. This sees what it does not: that it is gone itself, or does
not answer; that a process lives and cannot be reached, since somebody removed its socket (a tmp
cleaner does); and workers that a killed gateway left behind. It keeps the logs from growing, too.

It is one of the supervised programs itself. When their supervisor dies, it starts another one,
which takes all of them over, this one as well.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from llmlab.engines import probe
from llmlab.engines.certificates import CertificateWatch
from llmlab.engines.console import NAME as CONSOLE
from llmlab.engines.local import access_log, counts
from llmlab.engines.local.folders import make_folders
from llmlab.engines.local.placing import Here
from llmlab.engines.local.programs import API_PREFIX, GATEWAY
from llmlab.engines.local.started import Started, all_started
from llmlab.engines.local.supervisor import Supervisor
from llmlab.engines.turns import gateway_turn
from llmlab.engines.upstreams import Watch
from llmlab.errors import LlmlabError
from llmlab.lab import Lab
from llmlab.network import SHARES_PORTS
from llmlab.processes import (
    is_supervisor,
    stop_gracefully,
    superseded_workers,
)
from llmlab.recording import expiring
from llmlab.rotation import copy_and_cut, is_full, rotate
from llmlab.usage import watching
from llmlab.usage.store import Books

log = logging.getLogger("llmlab.keeper")
TICK = 0.25  # seconds between two looks at the supervisor
LOOK = 1.0  # seconds between two looks at everything else
STRIKES = 2  # looks in which a process cannot be reached
STUCK = 3  # times that the supervisor does not answer; each takes seconds
ASK = 10.0  # seconds between two questions to the supervisor
RETRY = 5.0  # seconds until a supervisor that did not start is tried again
PATIENCE = 10.0  # seconds for the last requests of a process that cannot be reached
LOADS = 600.0  # seconds after which a process has long made its socket
ROTATES = 10.0  # seconds at least between two reloads for the sake of the log
ORPHANED = 30.0  # seconds after a gateway's start in which it may have a killed one's workers
TOUCH = 3600.0  # seconds; cleaners of /tmp look at ages, of days
BY_RENAMING = ("gateway.log", "gateway.error.log")  # NGINX opens them itself
BY_THEMSELVES = ("supervisord.log",)  # and api-*.log


Place = tuple[int, Path]  # a pid, and a socket where it listens


class Keeper:
    """Of one lab."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._supervisor = Supervisor(lab)
        self._parent = 0  # a supervisor
        self._gateway: int | None = 0  # its pid, as it was known last
        self._orphaned_until = 0.0
        self._reached: set[Place] = set()  # where somebody could be reached once
        self._strikes: dict[Place, int] = {}
        self._told: dict[int, float] = {}  # pid -> when it is killed
        self._rotated = self._touched = self._asked = -TOUCH
        self._silent = 0

    # --- the supervisor ---------------------------------------------------------

    def supervised(self) -> bool:
        """Whether this is the child of a supervisor that is well."""
        if os.getppid() != self._parent:
            if not _is_a_supervisor(os.getppid()):
                return False
            self._parent = os.getppid()
        now = time.monotonic()
        if now - self._asked >= (ASK if self._supervisor.socket.exists() else LOOK):
            self._asked = now
            self._silent = 0 if self._supervisor.running() else self._silent + 1
        return self._silent < STUCK

    def revive(self) -> bool:
        """Have another supervisor. Returns whether there is one."""
        try:
            if self._supervisor.revive():
                log.warning("the supervisor was gone; another one has taken over")
        except (LlmlabError, OSError) as error:
            log.error("no supervisor: %s", error)
            return False
        return True

    # --- everything else ---------------------------------------------------------

    def look(self) -> None:
        """Once at each thing; what fails is tried again at the next look."""
        for one in (self._folders, self._reachable, self._orphans, self._logs):
            try:
                one()
            except (LlmlabError, OSError) as error:
                log.error("%s", error)

    def _folders(self) -> None:
        make_folders(self._lab)
        if time.monotonic() - self._touched >= TOUCH:
            self._touched = time.monotonic()
            for path in (self._lab.runtime_dir, *self._lab.runtime_dir.rglob("*")):
                with contextlib.suppress(OSError):
                    os.utime(path, follow_symlinks=False)

    def _reachable(self) -> None:
        there = list(self._listening())
        self._forget({(started.pid, socket) for _, started, socket in there})
        for name, started, socket in there:
            place = started.pid, socket
            if probe.can_be_reached(socket):
                self._reached.add(place)
                self._strikes.pop(place, None)
            elif place in self._reached or time.time() - started.starts[-1] > LOADS:
                self._strikes[place] = self._strikes.get(place, 0) + 1
                if self._strikes[place] >= STRIKES:
                    self._start_anew(name, started.pid)

    def _listening(self) -> Iterator[tuple[str, Started, Path]]:
        """The programs that listen on a socket: name, process and socket."""
        for name, started in all_started(self._lab.state).items():
            if not started.alive(self._lab.state):
                continue
            if name.startswith(API_PREFIX):
                yield name, started, self._lab.api_socket(name.removeprefix(API_PREFIX))
            elif name == CONSOLE:
                yield name, started, self._lab.console_socket
            elif name == GATEWAY:
                for socket in (self._lab.front_socket, self._lab.gateway_socket):
                    yield name, started, socket

    def _start_anew(self, name: str, pid: int) -> None:
        """End a process, for the supervisor to start it again: first in peace, then not."""
        with contextlib.suppress(ProcessLookupError):
            if pid not in self._told:
                log.warning("%s lives and cannot be reached; it is started anew", name)
                self._told[pid] = time.monotonic() + PATIENCE
                if name == GATEWAY and SHARES_PORTS:
                    os.kill(pid, signal.SIGKILL)  # its workers answer until the next one does
                else:
                    os.kill(pid, signal.SIGTERM)
            elif time.monotonic() > self._told[pid]:
                os.killpg(pid, signal.SIGKILL)

    def _forget(self, there: set[Place]) -> None:
        self._reached &= there
        for place in self._strikes.keys() - there:
            del self._strikes[place]
        for pid in self._told.keys() - {pid for pid, _ in there}:
            del self._told[pid]

    def _orphans(self) -> None:
        """Workers of a gateway that was killed: they leave once the next one answers."""
        pid, now = self._supervisor.pid(GATEWAY), time.monotonic()
        if pid != self._gateway:
            self._gateway, self._orphaned_until = pid, now + ORPHANED
        # Not before it has workers: who is asked on a socket may still be one of the orphans.
        if now < self._orphaned_until:
            stop_gracefully(superseded_workers(self._lab.state, pid))

    # --- logs ---------------------------------------------------------------------

    def _renamed(self) -> tuple[str, ...]:
        """The logs that NGINX opens itself: not with an nginx.conf that was written for an older
        version, and prints them."""
        conf = self._lab.state / "gateway" / "current" / "nginx.conf"
        return BY_RENAMING if "lab/access_log.conf" in conf.read_text(encoding="utf-8") else ()

    def _logs(self) -> None:
        folder, renamed = self._lab.logs, self._renamed()
        for file in folder.glob("*.log"):
            own = file.name.startswith(API_PREFIX) and not file.name.endswith(".error.log")
            if is_full(file) and not own and file.name not in (*renamed, *BY_THEMSELVES):
                copy_and_cut(file)
        full = [file for name in renamed if is_full(file := folder / name)]
        if full and time.monotonic() - self._rotated >= ROTATES:
            self._rotated = time.monotonic()
            with gateway_turn(self._lab):
                for file in full:
                    rotate(file)
                # Not USR1: its workers, who are nobody where the master is root, would open
                # the files themselves, in a folder that is closed to them.
                self._supervisor.signal(GATEWAY, signal.SIGHUP)


def _is_a_supervisor(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return is_supervisor(psutil.Process(pid))
    return False


def _reload_certificate(lab: Lab) -> bool:
    from llmlab.engines.choice import running_engine  # which a lab without TLS does without

    engine = running_engine(lab)  # not every lab with this keeper is the local engine's
    return engine is not None and engine.reload_certificate()


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    lab = Lab(Path(sys.argv[1]))
    keeper = Keeper(lab)
    Watch(lab, lambda deployment: probe.told_by(lab.api_socket(deployment))).start()
    gateway_log = Supervisor(lab).log(GATEWAY)
    watching.start(
        Books(lab.state), Here.name,
        lambda cursor: access_log.lines_since(gateway_log, cursor), more=lambda: counts.keep(lab),
    )  # fmt: skip
    CertificateWatch(lab, lambda: _reload_certificate(lab)).start()
    expiring.start(lab)
    looked = -LOOK
    while True:
        if not keeper.supervised():
            if keeper.revive():
                return  # the next one's keeper takes over
            time.sleep(RETRY)
        if time.monotonic() - looked >= LOOK:
            looked = time.monotonic()
            keeper.look()
        time.sleep(TICK)


if __name__ == "__main__":
    main()
