"""Watch a lab's containers: python -m llmlab.engines.compose.keeper FOLDER

A container that was ended by `docker kill` counts as stopped by hand, so no restart policy
brings it back; this does. A container that was stopped in earnest (`docker stop`, `docker
compose stop` or `down`, and whatever Compose replaces) is left alone. It also writes down
which container the kernel killed for want of memory: Docker forgets it on the next start.

Supervised for as long as the lab is up under the engine compose.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from llmlab.engines.certificates import CertificateWatch
from llmlab.engines.compose.access_log import lines_since
from llmlab.engines.compose.asking import ask
from llmlab.engines.compose.containers import DockerEngine, is_of_lab
from llmlab.engines.compose.gateway import GATEWAY
from llmlab.engines.compose.incidents import Incidents
from llmlab.engines.compose.logs import log_name
from llmlab.engines.compose.report import ENGINE
from llmlab.engines.local.supervisor import Supervisor
from llmlab.engines.probe import Told, read_metrics
from llmlab.engines.upstreams import Watch
from llmlab.errors import EnvironmentFailure, LlmlabError, UpstreamError
from llmlab.lab import Lab
from llmlab.processes import is_supervisor
from llmlab.recording import expiring
from llmlab.usage import watching
from llmlab.usage.store import Books

log = logging.getLogger("llmlab.keeper")
# Docker tells of a stop in earnest right after the death; a restart policy acts within it.
GRACE = 1.5  # seconds
KEPT = ("unless-stopped", "always")  # restart policies
KILLED = 137  # exit code after SIGKILL
ONE_DEATH = 5.0  # seconds
LOOK = 0.5  # seconds
PATIENCE = 5.0  # seconds for an API to tell its metrics
# Seconds of what happened before it listens: it starts after the containers, some of which may have
# died by then.
BEFORE = 30.0
LOST = 2.0  # seconds until the engine is asked again after it went away


class Keeper:
    """Decides, of each container that died, whether to start it again."""

    def __init__(self, docker: DockerEngine, incidents: Incidents) -> None:
        self._docker = docker
        self._incidents = incidents
        self._dead: dict[str, float] = {}  # id -> when to look after it
        self._noted: dict[str, float] = {}  # id -> when it last ran out of memory

    def hear(self, event: Mapping[str, Any], now: float) -> None:
        """Take note of one event. ``now`` in seconds of any steady clock."""
        identifier, what = event["id"], event["Action"]
        if what == "die":
            self._note_memory(identifier, now)
            self._dead[identifier] = now + GRACE
        elif what in ("stop", "destroy"):
            self._dead.pop(identifier, None)
        elif what == "oom":
            self._note_memory(identifier, now, certain=True)

    def act(self, now: float) -> None:
        """Start what died long enough ago, and that neither a person nor Docker took care of."""
        for identifier in [one for one, when in self._dead.items() if when <= now]:
            del self._dead[identifier]
            self.start_if_dead(identifier)

    def start_if_dead(self, identifier: str) -> None:
        """Start a container that was killed, if it is one that Docker is to keep running."""
        found = self._docker.inspect(identifier)
        if found is None or found.state != "exited" or found.exit_code != KILLED:
            return
        if found.restart_policy in KEPT:
            log.info("%s died (exit code %d); starting it", found.service, found.exit_code)
            self._docker.start(identifier)

    def _note_memory(self, identifier: str, now: float, *, certain: bool = False) -> None:
        found = self._docker.inspect(identifier)
        if found is None or not (certain or found.oom_killed):
            return
        # Some engines tell of it twice: as an event of its own, and of the death.
        if now - self._noted.get(identifier, -ONE_DEATH) >= ONE_DEATH:
            log.warning("%s", self._incidents.add(found.service, found.memory_limit))
        self._noted[identifier] = now


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    lab = Lab(Path(sys.argv[1]))
    Watch(lab, lambda deployment: _told(lab, deployment)).start()
    watching.start(Books(lab.state), ENGINE, lambda cursor: _requests(lab, cursor))
    CertificateWatch(lab, lambda: _reload_certificate(lab)).start()
    expiring.start(lab)
    while True:
        try:
            _watch(lab)
        except EnvironmentFailure as error:
            log.warning("%s", error)
        time.sleep(LOST)


def _requests(lab: Lab, cursor: str) -> tuple[list[str], str]:
    """What the gateway's container has printed since."""
    docker = DockerEngine()
    found = (one for one in docker.containers(lab.root) if one.service == GATEWAY)
    there = next(found, None)
    return lines_since(docker.sdk_container(there), cursor) if there else ([], cursor)


def _reload_certificate(lab: Lab) -> bool:
    from llmlab.engines.compose.engine import ComposeEngine  # which a lab without TLS does without

    return ComposeEngine(lab).reload_certificate()


def _told(lab: Lab, deployment: str) -> Told:
    found = DockerEngine().containers(lab.root)
    named = (one for one in found if log_name(one) == f"api-{deployment}")
    try:
        code, page = ask(next(named, None), deployment, "/metrics", method="GET", body=b"",
                         timeout=PATIENCE, headers={})  # fmt: skip
    except UpstreamError:
        return Told()
    return read_metrics(page.decode()) if code == 200 else Told()


def _supervised() -> bool:
    with contextlib.suppress(psutil.Error):
        return is_supervisor(psutil.Process(os.getppid()))
    return False


def _watch(lab: Lab) -> None:
    """Until the engine goes away."""
    docker = DockerEngine()
    keeper = Keeper(docker, Incidents(lab))
    heard: queue.Queue[Mapping[str, Any] | None] = queue.Queue()
    events = DockerEngine().events(since=time.time() - BEFORE)

    def listen() -> None:
        with contextlib.suppress(Exception):  # the connection broke; whatever it says
            for event in events:
                if is_of_lab(event["Actor"]["Attributes"], lab.root):
                    heard.put(event)
        heard.put(None)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        try:
            event = heard.get(timeout=LOOK)
        except queue.Empty:
            pass
        else:
            if event is None:
                return
            keeper.hear(event, time.monotonic())
        keeper.act(time.monotonic())
        if not _supervised():
            with contextlib.suppress(LlmlabError, OSError):  # tried again at the next look
                if Supervisor(lab).revive():
                    log.warning("the supervisor was gone; another one has taken over")
                sys.exit(0)  # the next one's keeper takes over


if __name__ == "__main__":
    main()
