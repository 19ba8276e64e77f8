"""The replicas of a lab as actors of a Ray cluster: the one module that asks Ray for anything.

What Ray does not answer in time is left as it was known: the head may be away for long, and
replicas go on without it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from llmlab.engines.ray.reconcile import Actor, parsed
from llmlab.engines.ray.replica import Look, Replica
from llmlab.engines.ray.wanted import Wanted
from llmlab.errors import EnvironmentFailure, unreadable

log = logging.getLogger("llmlab.placer")
WAITS = 0.3  # seconds for those that answer at once
HEARD = 10.0  # seconds until one says how it is that lives
AT_ONCE = 8  # methods of a replica


@dataclass(frozen=True)
class Node:
    """A machine of the cluster. ``cores``, ``gpus``, ``memory``: those it has for replicas."""

    id: str
    host: str
    name: str
    alive: bool
    is_head: bool
    cores: float
    gpus: float
    memory: int


class Fleet:
    """
    Args:
        address: HOST:PORT of the head.
        host: this machine's own address.
        namespace: of this lab's actors.
        cursors: {actor: up to where it was read}, of the process before this one.

    What is noted of actors is held by a lock: some of them are ended aside.
    """

    def __init__(self, address: str, host: str, namespace: str, cursors: Mapping[str, str]) -> None:
        import ray

        self._namespace = namespace
        try:
            ray.init(
                address=address, namespace=namespace, log_to_driver=False,
                logging_level=logging.ERROR, _node_ip_address=host, configure_logging=False,
            )  # fmt: skip
        except (ConnectionError, RuntimeError, TimeoutError) as error:
            raise EnvironmentFailure(
                f"the cluster at {address} does not answer: {str(error).splitlines()[0]}",
                fix="llmlab logs head; where ray.address names one elsewhere, llmlab logs node",
            ) from None
        self._handles: dict[str, Any] = {}
        self._asked: dict[str, Any] = {}
        self._looks: dict[str, Actor] = {}
        self._cursors = dict(cursors)
        self._lock = threading.Lock()
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="nodes")
        self._nodes: tuple[Node, ...] = ()
        self._asking: Any = None

    # --- what there is ----------------------------------------------------------

    def nodes(self) -> tuple[Node, ...]:
        """As they were known last: GCS is asked aside, for it may be away."""
        if self._asking is None or self._asking.done():
            if self._asking is not None and self._asking.exception() is None:
                self._nodes = self._asking.result()
            self._asking = self._aside.submit(_nodes)
        return self._nodes

    def find(self) -> None:
        """Take over the actors that were placed before this process was started.

        Raises:
            EnvironmentFailure: Ray does not say which.
        """
        import ray

        try:
            names = ray.util.list_named_actors()
        except Exception as error:  # of Ray's many
            raise EnvironmentFailure(f"Ray does not say what runs: {unreadable(error)}") from None
        for name in names:
            try:
                parsed(name)
                self._handles[name] = ray.get_actor(name, namespace=self._namespace)
            except ValueError:
                continue

    def create(self, name: str, one: Wanted, but: Collection[str] = ()) -> None:
        """Have Ray find a place for it; it stays pending where there is none.

        Args:
            but: ids of nodes that do not get it.
        """
        import ray

        log.info("placing %s: %g cores", name, one.cores)
        elsewhere = {"ray.io/node-id": f"!in({','.join(sorted(but))})"} if but else None
        made = ray.remote(Replica).options(
            name=name, namespace=self._namespace, lifetime="detached", max_restarts=-1,
            max_task_retries=0, max_concurrency=AT_ONCE, scheduling_strategy="SPREAD",
            num_cpus=one.cores, num_gpus=one.gpus, memory=one.memory, get_if_exists=True,
            label_selector=elsewhere,
        )  # fmt: skip
        handle = made.remote(one.process, one.deployment)
        with self._lock:
            self._handles[name] = handle

    def look(self, orders: Mapping[str, Mapping[str, str]]) -> list[Actor]:
        """How all of them are; what one has logged is told once. Nobody waits for one that does
        not answer at once.

        Args:
            orders: {name: small files that are new to it}.
        """
        import ray

        with self._lock:
            for name, handle in self._handles.items():
                known = self._looks.setdefault(name, Actor(name))
                if known.look:
                    self._looks[name] = replace(known, look=replace(known.look, lines=()))
                if name not in self._asked:
                    cursor = self._cursors.get(name, "0")
                    self._asked[name] = handle.look.remote(cursor, orders.get(name))
            refs = {ref: name for name, ref in self._asked.items()}
        done, _ = ray.wait(list(refs), num_returns=len(refs), timeout=WAITS) if refs else ([], [])
        heard = {refs[ref]: self._heard(refs[ref], ref) for ref in done}
        with self._lock:
            for name, actor in heard.items():
                if name not in self._handles:  # it was ended meanwhile
                    continue
                self._asked.pop(name, None)
                self._looks[name] = actor
                if actor.look:  # also while it is away, nothing is to be told twice
                    self._cursors[name] = actor.look.cursor
            return list(self._looks.values())

    @property
    def cursors(self) -> dict[str, str]:
        """{actor: up to where what it has logged was read}."""
        with self._lock:
            return {name: self._cursors[name] for name in self._handles if name in self._cursors}

    def _heard(self, name: str, ref: Any) -> Actor:
        import ray

        try:
            found = ray.get(ref)
        except ray.exceptions.ActorDiedError as error:  # it cannot even begin: Ray gives it up
            why = str(error).strip().splitlines()[-1].strip()
            if not self._looks.get(name, Actor(name)).dead:
                log.error("%s is dead: %s", name, why)
            return Actor(name, gone=True, dead=why)
        except ray.exceptions.RayActorError as error:  # starting again elsewhere
            if not self._looks.get(name, Actor(name)).gone:
                log.warning("%s is away: %s", name, str(error).splitlines()[0])
            return Actor(name, gone=True)
        except ray.exceptions.RayError as error:
            log.error("%s: %s", name, str(error).splitlines()[0])
            return self._looks.get(name, Actor(name))
        assert isinstance(found, Look)
        return Actor(name, found)

    # --- one of them ------------------------------------------------------------

    def call(self, name: str, method: str, *arguments: Any, within: float) -> Any:
        """Have it do something, and wait for that.

        Raises:
            EnvironmentFailure: it did not, in so many seconds.
        """
        import ray

        handle = self._handles[name]
        try:
            return ray.get(getattr(handle, method).remote(*arguments), timeout=within)
        except ray.exceptions.RayError as error:
            said = str(getattr(error, "cause", None) or error).strip().splitlines()
            raise EnvironmentFailure(f"{name}: {said[-1] if said else error}") from None

    def end(self, name: str, patience: float) -> None:
        """Let it end what it has in hand, then be gone. One that does not say how it is has
        nothing, for it may still be waiting for a machine: nobody waits for it."""
        import ray

        with self._lock:
            handle, known = self._handles[name], self._looks.get(name)
        try:
            if not known or not known.look:
                ray.get(handle.look.remote("0"), timeout=HEARD)
            ray.get(handle.end.remote(patience), timeout=patience + 15)
        except ray.exceptions.RayError as error:
            log.warning("%s does not end in peace: %s", name, str(error).splitlines()[0])
        try:
            ray.kill(handle, no_restart=True)
        except Exception as error:
            log.warning("%s: %s", name, error)

    def forget(self, name: str) -> None:
        with self._lock:
            for known in (self._handles, self._asked, self._looks, self._cursors):
                known.pop(name, None)


def _nodes() -> tuple[Node, ...]:
    import ray

    told: list[dict[str, Any]] = ray.nodes()
    return tuple(
        Node(
            id=one["NodeID"], host=one["NodeManagerAddress"], name=one["NodeName"],
            alive=one["Alive"], is_head="node:__internal_head__" in one["Resources"],
            cores=one["Resources"].get("CPU", 0.0), gpus=one["Resources"].get("GPU", 0.0),
            memory=int(one["Resources"].get("memory", 0)),
        )
        for one in told
    )  # fmt: skip
