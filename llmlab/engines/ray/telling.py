"""What the placer has seen, for whoever looks at the lab."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from llmlab.engines.ray.fleet import Node
from llmlab.engines.ray.placed import Placed, Placement, State
from llmlab.engines.ray.reconcile import Actor, Steps
from llmlab.engines.ray.wanted import Wanted
from llmlab.engines.status import NodeStatus

STATES: Mapping[str, State] = {
    "empty": "STARTING", "starting": "STARTING", "ready": "RUNNING", "failed": "FATAL",
    "ending": "STOPPING",
}  # fmt: skip


def placement(
    wanted: Sequence[Wanted],
    actors: Sequence[Actor],
    steps: Steps,
    nodes: Sequence[Node],
    leaving: Collection[str],
    failed: Mapping[str, tuple[float, str]],
) -> Placement:
    """
    Args:
        leaving: addresses of nodes that are drained.
        failed: {actor: (since when, why)} of those that could not be given what they serve.
    """
    names = {one.id: one.name for one in nodes}
    replicas = []
    for one in wanted:
        mine = [actor for actor in actors if actor.process == one.process]
        actor = steps.links.get(one.process) or max(mine, key=lambda it: it.turn, default=None)
        _, why = failed.get(actor.name, (0.0, "")) if actor else (0.0, "")
        replicas.append(_placed(one, actor, why, names))
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


def _placed(one: Wanted, actor: Actor | None, why: str, names: Mapping[str, str]) -> Placed:
    look = actor.look if actor else None
    if actor is None or look is None or actor.gone:
        return Placed(one.process, one.deployment, one.version, "PENDING", why=why)
    return Placed(
        one.process, one.deployment, actor.version, "FATAL" if why else STATES[look.phase],
        node=names.get(look.node, look.host), host=look.host, port=look.port, pid=look.pid or None,
        since=look.since, memory=look.memory, why=why or look.why,
    )  # fmt: skip
