"""The same cluster without one of the things that are set, and with a node that falls silent."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from benchmarks.machine_deaths import WORKERS, Say, another, same
from benchmarks.ray_bed import NEVER, REPLICAS, Bed, asked, bed, statuses
from benchmarks.ray_nodes import Cluster


def impatient(cluster: Cluster, seconds: float, say: Say) -> dict[str, Any]:
    """Everything waits for a head as long as Ray does by itself, and the head stays away."""
    with bed(replace(cluster, patient=False), WORKERS) as found:
        before = list(found.look()["replicas"].values())
        found.head.kill()
        begin, at_first = time.monotonic(), found.answering(before)
        took: dict[str, int | None] = {"replicas": None, "nodes": None}
        while None in took.values() and time.monotonic() < begin + seconds:
            now = round(time.monotonic() - begin)
            if took["replicas"] is None and not found.answering(before):
                took["replicas"] = now
            if took["nodes"] is None and not _nodes(found):
                took["nodes"] = now
            time.sleep(1)
        say(f"impatient: {at_first} of {REPLICAS} replicas at first, all gone after {took} s")
        return {"at_first": at_first, "gone_after": took, "watched": seconds}


def forgetful(cluster: Cluster, say: Say) -> dict[str, Any]:
    """The head keeps what it knows in memory, and is back at once."""
    with bed(replace(cluster, storage="memory"), WORKERS) as found:
        before = found.look()["replicas"]
        found.head.kill()
        found.head.start()
        took = found.placed()
        after = found.look()
        known = sum(same(one, after["replicas"].get(name)) for name, one in before.items())
        left, nodes = found.answering(list(before.values())), _nodes(found)
        say(f"forgetful: {known} of {REPLICAS} known again, {left} answer, {nodes} nodes")
        return {"same": known, "old_ones_answer": left, "placed": len(after["replicas"]),
                "seconds": None if took == NEVER else round(took, 1),
                "nodes": nodes}  # fmt: skip


def silent(cluster: Cluster, say: Say) -> dict[str, Any]:
    """A node says nothing any more, and closes no connection either."""
    with bed(cluster, WORKERS) as found:
        with found.clients():
            time.sleep(5)
            name, begin = "replica.2", time.monotonic()
            before, node = found.look()["replicas"][name], found.node_of(name)
            for one in node.processes():
                one.suspend()
            right = found.until(lambda look: another(look, name, before))
            time.sleep(10)
        requests = asked(found.asked, begin)  # of these, those that hung have ended as well
        say(f"silent: replaced after {right:.1f} s, {statuses(requests)}")
        return {"seconds": None if right == NEVER else round(right, 1),
                "statuses": statuses(requests), "requests": len(requests)}  # fmt: skip


def _nodes(found: Bed) -> int:
    """How many have a raylet, beside the head."""
    return sum(bool(node.raylets()) for node in found.nodes.values() if node is not found.head)
