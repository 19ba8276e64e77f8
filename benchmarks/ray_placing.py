"""python -m benchmarks.ray_placing FILE: has Ray run the replicas, and NGINX pass to where they
are. The driver of a cluster, in a process of its own. Its plan comes on stdin, as JSON; what it
sees goes to FILE, a line for each look.

Calls of Ray wait for as long as the head is away, and a driver whose head died never hears again
that an actor is replaced. So a thread watches the head: once one is back that was away, this
process ends, and is started anew.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llmlab.files import write_atomically

LOOK = 0.5  # seconds between two looks
ASKS = 2.0  # seconds for an actor to say where it is
ANEW = 75  # the exit code of one that is to be started again
NOBODY = "127.0.0.1:9"  # discard: refuses connections


@dataclass(frozen=True)
class Plan:
    """What is wanted. ``reload`` is a command."""

    address: str
    host: str
    replicas: int
    settings: str
    logs: str
    upstream: str
    reload: Sequence[str]


@dataclass
class Seen:
    """What a look found. ``took`` seconds; ``why`` it found nothing."""

    moment: float
    replicas: dict[str, dict[str, Any]] = field(default_factory=dict)
    nodes: list[list[Any]] = field(default_factory=list)
    nodes_took: float = 0.0
    why: list[str] = field(default_factory=list)


class Placer:
    """Keeps so many actors, and tells NGINX where they are."""

    def __init__(self, plan: Plan) -> None:
        import ray

        from benchmarks.ray_replica import Replica

        ray.init(
            address=plan.address, namespace="bench", _node_ip_address=plan.host,
            log_to_driver=False, logging_level="ERROR",
        )  # fmt: skip
        self._plan, self._known = plan, dict[str, str]()
        actor = ray.remote(num_cpus=0.3, max_restarts=-1, lifetime="detached",
                           scheduling_strategy="SPREAD")(Replica)  # fmt: skip
        names = [f"replica.{number}" for number in range(1, plan.replicas + 1)]
        self._actors = {
            name: actor.options(name=name, get_if_exists=True).remote(
                plan.settings, f"{plan.logs}/{name}.log"
            )
            for name in names
        }

    def look(self) -> Seen:
        import ray

        seen = Seen(time.monotonic())
        asked = {actor.told.remote(): name for name, actor in self._actors.items()}
        done, _ = ray.wait(list(asked), num_returns=len(asked), timeout=ASKS)
        for one in asked:
            try:
                if one in done:
                    seen.replicas[asked[one]] = ray.get(one, timeout=ASKS)
                else:
                    seen.why.append(f"{asked[one]}: no answer")
            except ray.exceptions.RayError as error:
                seen.why.append(f"{asked[one]}: {type(error).__name__}")
        self._publish({name: one["address"] for name, one in seen.replicas.items()})
        begin = time.monotonic()
        try:
            seen.nodes = [[one["NodeManagerAddress"], one["Alive"]] for one in ray.nodes()]
        except Exception as error:
            seen.why.append(f"nodes: {type(error).__name__}: {error}"[:200])
        seen.nodes_took = time.monotonic() - begin
        return seen

    def _publish(self, found: dict[str, str]) -> None:
        """Name to NGINX all that are ready; of those that say nothing, where they were last."""
        moved = {name: at for name, at in found.items() if self._known.get(name) != at}
        ready = {name: at for name, at in moved.items() if _ready(at)}
        if not ready:
            return
        self._known |= ready
        servers = "".join(f"server {at} max_fails=0;\n" for at in sorted(self._known.values()))
        write_atomically(Path(self._plan.upstream), servers)
        subprocess.run(list(self._plan.reload), check=True, capture_output=True)


def _ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/health/ready", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def _watch(head: str) -> None:
    """End this process once the head is back from having been away."""
    while _listens(head):
        time.sleep(LOOK)
    while not _listens(head):
        time.sleep(LOOK)
    os._exit(ANEW)


def main() -> None:
    file = Path(sys.argv[1])
    plan = Plan(**json.loads(sys.stdin.read()))
    threading.Thread(target=_watch, args=(plan.address,), daemon=True).start()
    placer = Placer(plan)
    while True:
        with file.open("a", encoding="utf-8") as to:
            print(json.dumps(asdict(placer.look())), file=to)
        time.sleep(LOOK)


if __name__ == "__main__":
    main()
