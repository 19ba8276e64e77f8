"""Have replicas where there is room for them: python -m llmlab.engines.ray.placer LAB RAY NGINX

A supervised process on the gateway's machine. Ray finds a machine for each replica, and another one
when that dies; this one gives it what it serves, leads a link to it, brings it what the lab tells
its processes in small files, and takes over what it logs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from llmlab.config.ray import Ray
from llmlab.engines.local.staging import worker_user
from llmlab.engines.ray import cluster
from llmlab.engines.ray.barred import read_barred, write_barred
from llmlab.engines.ray.draining import drained
from llmlab.engines.ray.fleet import HEARD, Fleet, Node
from llmlab.engines.ray.links import LabLinks
from llmlab.engines.ray.orders import orders_for
from llmlab.engines.ray.placed import Placement, read_placement, write_placement
from llmlab.engines.ray.providing import Provider
from llmlab.engines.ray.reaching import Reaching
from llmlab.engines.ray.reading import Logs, read_cursors, write_cursors
from llmlab.engines.ray.reconcile import Actor, Steps, believed, reconcile
from llmlab.engines.ray.replica import Look, digest_of
from llmlab.engines.ray.telling import Failed, placement
from llmlab.engines.ray.trying import Ground, Tries
from llmlab.engines.ray.wanted import Wanted, asked_at, read_wanted
from llmlab.errors import EnvironmentFailure, LlmlabError, unreadable
from llmlab.gateway import Nginx
from llmlab.lab import Lab
from llmlab.links.binary import for_links
from llmlab.links.conf import Link

log = logging.getLogger("llmlab.placer")
TICK = 0.3  # seconds
AGAIN = 5.0  # seconds until what has failed is tried again
AGAIN_CONNECTING = 1.0
HEAD_LOOKS, HEAD_ANSWERS = 1.0, 3.0  # seconds
AT_ONCE = 8  # replicas that are provided for, or ended, at once
TOLD = 2.0  # seconds until what is known is told again
PATIENCE = 60.0  # seconds for last requests, where nobody says how long they take


class Placer:
    """Of one lab."""

    def __init__(
        self, lab: Lab, ray: Ray, fleet: Fleet, links: LabLinks, away: threading.Event
    ) -> None:
        self._away = away  # whether the head does not answer
        self._lab, self._fleet, self._links = lab, fleet, links
        self._provider = Provider(lab, ray)
        self._logs = Logs(lab)
        self._reaching, self._tries = Reaching(), Tries(read_barred(lab))
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="provide")
        self._jobs: dict[str, Future[None]] = {}
        self._failed: dict[str, Failed] = {}
        self._actors: list[Actor] = []
        self._patience = PATIENCE
        self._told, self._asked = Placement(), 0.0
        self._begun, self._knows = time.monotonic(), False

    def tick(self) -> None:
        """Look once, and do what is next.

        Raises:
            LlmlabError, OSError, ValueError: something of it cannot be done for now.
        """
        asked, wanted = asked_at(self._lab), read_wanted(self._lab)
        nodes, leaving = self._fleet.nodes(), drained(self._lab)
        hosts = {one.id: one.host for one in nodes}
        looked = self._fleet.look(self._orders(wanted))
        self._actors = self._reaching.believed([believed(one, hosts) for one in looked])
        self._take_over_logs()
        if not self._know(nodes):
            return
        if asked > self._asked:
            self._asked = asked
            self._failed.clear()
            self._tries.ask()
        ground = Ground(nodes, frozenset(one.id for one in nodes if one.host in leaving))
        self._forget_ended()
        self._actors = self._tries.judged(wanted, self._actors, ground, self._failed)
        steps = reconcile(wanted, self._actors, ground.drained)
        self._lead(wanted, steps)  # before anything ends to which a link leads
        self._follow(wanted, steps, ground)
        self._patience = max((one.patience for one in wanted), default=self._patience)
        found = placement(wanted, self._actors, steps, nodes, leaving, self._failed)
        # What is known of the head's nodes is as it was told last.
        self._tell(replace(found, head=found.head and not self._away.is_set(), asked=asked))

    def _know(self, nodes: Sequence[Node]) -> bool:
        """Whether what was there before this process has been heard of: until then all stays as it
        is, links as well, for what is not known yet would be taken for gone, or for not drained."""
        if not self._knows:
            heard = all(one.look or one.gone for one in self._actors) and self._reaching.settled
            late = time.monotonic() - self._begun > HEARD  # as what waits for a machine always is
            self._knows = bool(nodes) and (heard or late)
        return self._knows

    def _take_over_logs(self) -> None:
        told = [(one.process, one.look.lines) for one in self._actors if one.look]
        for process, lines in told:
            self._logs.write(process, lines)
        if any(lines for _, lines in told):
            write_cursors(self._lab, self._fleet.cursors)

    def _tell(self, found: Placement) -> None:
        """Each change at once, and now and then that there is none."""
        if found.at - self._told.at > TOLD or replace(found, at=0.0) != replace(self._told, at=0.0):
            write_placement(self._lab, found)
            self._told = found

    def _lead(self, wanted: Sequence[Wanted], steps: Steps) -> None:
        deployments = {one.process: one.deployment for one in wanted}
        links = [
            Link(
                process,
                deployments[process],
                self._lab.api_socket(process),
                look.host,
                look.port,
                look.incarnation,
            )
            for process, actor in sorted(steps.links.items())
            if (look := actor.look)
        ]
        self._links.lead(links, max((one.longest for one in wanted), default=0.0))

    def _orders(self, wanted: Sequence[Wanted]) -> dict[str, Mapping[str, str]]:
        """{actor: small files}, of those that go by other ones."""
        said = {one.process: orders_for(self._lab, one.deployment) for one in wanted}
        return {
            actor.name: said[actor.process]
            for actor in self._actors
            if actor.process in said and actor.look and actor.look.phase != "empty"
            and digest_of(said[actor.process]) != actor.look.orders
        }  # fmt: skip

    def _follow(self, wanted: Sequence[Wanted], steps: Steps, ground: Ground) -> None:
        for name, one in steps.create:
            self._tries.barred[name] = but = self._tries.but(one, ground)
            write_barred(self._lab, self._tries.barred)  # before Ray keeps to it
            self._fleet.create(name, one, but)
        for name in steps.end:
            self._do(name, "end", partial(self._end, name))
        by_process = {one.process: one for one in wanted}
        for actor in self._actors:
            mine, look = by_process.get(actor.process), actor.look
            if not mine or not look or actor.version != mine.version or actor.name in steps.end:
                continue
            if look.phase == "empty":
                self._do(actor.name, "provide", partial(self._provide, actor.name, look, mine))
            elif 0 < look.due < time.time():
                self._do(actor.name, "renew", partial(self._renew, actor.name, look, mine))

    def _forget_ended(self) -> None:
        """Of an actor that is gone nothing is kept."""
        there = {one.name for one in self._actors}
        for name in [one for one, job in self._jobs.items() if one not in there and job.done()]:
            del self._jobs[name]
            self._failed.pop(name, None)

    def _do(self, name: str, what: str, job: Callable[[], None]) -> None:
        """One thing at a time for each replica, and not again at once what has failed."""
        running = self._jobs.get(name)
        failed = self._failed.get(name)
        waits = failed is not None and time.monotonic() - failed.at < AGAIN
        if waits or (running and not running.done()):
            return
        self._jobs[name] = self._pool.submit(self._done, name, what, job)

    def _done(self, name: str, what: str, job: Callable[[], None]) -> None:
        try:
            job()
            self._failed.pop(name, None)
        except LlmlabError as error:
            log.error("%s %s: %s", what, name, error.message)
            self._note(name, error.message)
        except Exception as error:  # nobody looks at what a job of the pool raises
            log.error("%s %s: %s: %s", what, name, type(error).__name__, unreadable(error))
            self._note(name, f"{type(error).__name__}: {unreadable(error)}")

    def _note(self, name: str, why: str) -> None:
        before = self._failed.get(name)
        self._failed[name] = Failed(time.monotonic(), why, before.times + 1 if before else 1)

    def _provide(self, name: str, look: Look, one: Wanted) -> None:
        log.info("%s is on %s", name, look.host)
        self._provider.provide(partial(self._fleet.call, name), look, one)

    def _renew(self, name: str, look: Look, one: Wanted) -> None:
        log.info("another certificate for %s", name)
        self._provider.renew(partial(self._fleet.call, name), look, one)

    def _end(self, name: str) -> None:
        log.info("ending %s", name)
        self._fleet.end(name, self._patience)
        self._fleet.forget(name)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    lab, ray = Lab(Path(sys.argv[1])), Ray.model_validate_json(sys.argv[2])
    links = LabLinks(lab, ray, for_links(Nginx(Path(sys.argv[3]), "", "")), worker_user())
    over, away = threading.Event(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    threading.Thread(target=watch_head, args=(lab, ray, away), daemon=True).start()
    cluster.import_ray(cluster.environment(cluster.make_token(lab, ray), alone=ray.is_alone))
    try:
        fleet = connected(ray, cluster.namespace(lab, ray), read_cursors(lab), over)
    except EnvironmentFailure as error:
        log.error("%s", error)
        os._exit(1)  # its supervisor starts it anew
    if fleet is None:
        return
    placer = Placer(lab, ray, fleet, links, away)
    while not over.wait(TICK):
        try:
            placer.tick()
        except LlmlabError as error:
            log.error("%s", error)
        except (OSError, ValueError) as error:
            log.error("%s: %s", type(error).__name__, unreadable(error))
    os._exit(0)  # Ray's own end waits for the head, which may be ending as well


def connected(
    ray: Ray, namespace: str, cursors: Mapping[str, str], over: threading.Event
) -> Fleet | None:
    """With the cluster, which may still be starting; None if that was waited for in vain.

    Raises:
        EnvironmentFailure: it does not say what runs. A process connects once: another one may try.
    """
    while not over.is_set():
        try:
            fleet = Fleet(cluster.head_address(ray), ray.host, namespace, cursors)
        except EnvironmentFailure as error:
            log.error("%s", error)
            over.wait(AGAIN_CONNECTING)
        else:
            fleet.find()
            return fleet
    return None


def watch_head(lab: Lab, ray: Ray, away: threading.Event) -> None:
    """Say that the head is away, which Ray itself keeps silent about: what it is asked then waits.

    Once it is back this process ends, for its supervisor to start it anew: the head takes who was
    there before for gone, and of actors that are replaced since it is told nothing.
    """
    host, _, port = cluster.head_address(ray).rpartition(":")
    seen = False
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=HEAD_ANSWERS).close()
        except OSError:
            away.set()
            with contextlib.suppress(OSError):
                write_placement(lab, replace(read_placement(lab), head=False, at=time.time()))
        else:
            if seen and away.is_set():
                log.warning("the head is back")
                os._exit(1)
            seen = True
            away.clear()
        time.sleep(HEAD_LOOKS)


if __name__ == "__main__":
    main()
