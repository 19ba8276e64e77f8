"""What the placer has seen, for whoever looks at the lab."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from llmlab.engines.ray.fleet import Node
from llmlab.engines.ray.placed import Placed, Placement, State
from llmlab.engines.ray.reconcile import Actor, Steps
from llmlab.engines.ray.wanted import Wanted
from llmlab.engines.status import NodeStatus

STATES: Mapping[str, State] = {
    "empty": "STARTING", "starting": "STARTING", "ready": "RUNNING", "failed": "FATAL",
    "ending": "STOPPING",
}  # fmt: skip


TRIES = 3  # after which it is told as a failure: before, its machine may just have died


@dataclass(frozen=True)
class Failed:
    """What could not be done with a replica: when (monotonic seconds), why, and how often."""

    at: float
    why: str
    times: int


def placement(
    wanted: Sequence[Wanted],
    actors: Sequence[Actor],
    steps: Steps,
    nodes: Sequence[Node],
    leaving: Collection[str],
    failed: Mapping[str, Failed],
) -> Placement:
    """
    Args:
        leaving: addresses of nodes that are drained.
        failed: {actor: what could not be done with it}.
    """
    names = {one.id: one.name for one in nodes}
    replicas = []
    for one in wanted:
        mine = [actor for actor in actors if actor.process == one.process]
        newest = max((it for it in mine if not it.spent), key=lambda it: it.turn, default=None)
        # One that was to take over and cannot is what somebody waits for.
        lost = newest and (newest.dead or (newest.look and newest.look.phase == "failed"))
        actor = newest if lost else steps.links.get(one.process, newest)
        placed = _placed(one, actor, failed.get(actor.name) if actor else None, names)
        if newest and newest is not actor and newest.look:  # why it does not take over yet
            placed = replace(placed, why=newest.look.why or placed.why)
        replicas.append(placed)
    on = {node.id: tuple(one.process for one in actors if one.look and not one.gone
                         and one.look.node == node.id) for node in nodes}  # fmt: skip
    machines = [
        NodeStatus(
            name=node.name, host=node.host, cores=node.cores, gpus=node.gpus, memory=node.memory,
            state="draining" if node.host in leaving else "ready" if node.alive else "away",
            is_head=node.is_head, replicas=on[node.id],
        )
        for node in nodes
        if node.alive or on[node.id]
    ]  # fmt: skip
    return Placement(time.time(), bool(nodes), tuple(machines), tuple(replicas), len(actors))


def _placed(
    one: Wanted, actor: Actor | None, failed: Failed | None, names: Mapping[str, str]
) -> Placed:
    look = actor.look if actor else None
    why = failed.why if failed else ""
    if actor and actor.dead:
        return Placed(one.process, one.deployment, one.version, "FATAL", why=actor.dead)
    if actor is None or look is None or actor.gone:
        return Placed(one.process, one.deployment, one.version, "PENDING", why=why)
    state = STATES[look.phase]
    if failed and state != "RUNNING":
        state = "FATAL" if failed.times >= TRIES else "BACKOFF"
    return Placed(
        one.process, one.deployment, actor.version, state,
        node=names.get(look.node, look.host), host=look.host, port=look.port, pid=look.pid or None,
        since=look.since, memory=look.memory, why=why or look.why,
    )  # fmt: skip
