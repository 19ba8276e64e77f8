"""The nodes that replicas leave: a file in the lab's state, and waiting until they have."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Sequence

from llmlab.engines.ray.placed import read_placement
from llmlab.engines.ray.wanted import folder_of
from llmlab.engines.record import Record
from llmlab.engines.status import NodeStatus
from llmlab.errors import UpstreamError, UsageError
from llmlab.files import locked, write_atomically
from llmlab.lab import Lab, private_folder
from llmlab.near import hint

FILE = "draining.json"
POLL = 0.2  # seconds


def drained(lab: Lab) -> frozenset[str]:
    """Their addresses.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        found = json.loads((folder_of(lab) / FILE).read_bytes())
    except FileNotFoundError:
        return frozenset()
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise ValueError(f"{FILE} should hold a list of addresses")
    return frozenset(found)


def change(lab: Lab, *, drain: Collection[str] = (), take: Collection[str] = ()) -> None:
    """
    Args:
        drain: addresses that replicas leave from now on; ``take``: those that get some again.
    """
    folder = private_folder(folder_of(lab))
    with locked(folder / "draining.lock"):
        hosts = sorted((drained(lab) | set(drain)) - set(take))
        write_atomically(folder / FILE, json.dumps(hosts) + "\n")


def nodes_of(lab: Lab) -> tuple[NodeStatus, ...]:
    """The machines of a lab that runs.

    Raises:
        UsageError: it runs under another engine. UpstreamError: it does not run.
    """
    record = Record.read(lab)
    if record and record.engine != "ray":
        raise UsageError(
            f"this lab runs under the engine {record.engine}, on this machine alone",
            fix="llmlab down, then llmlab up --engine ray",
        )
    nodes = read_placement(lab).machines
    if not nodes:
        raise UpstreamError("no node is known: the lab does not run", fix="llmlab up --engine ray")
    return nodes


def find(nodes: Sequence[NodeStatus], name: str) -> NodeStatus:
    """
    Raises:
        UsageError: there is none of that name or address, or there are several.
    """
    found = [one for one in nodes if name in (one.host, one.name) and one.cores > 0] or [
        one for one in nodes if name in (one.host, one.name)
    ]
    if not found:
        names = [one.name for one in nodes]
        raise UsageError(f"there is no node {name}{hint(name, names)}", fix="llmlab node list")
    if len({one.host for one in found}) > 1:
        raise UsageError(f"several nodes are called {name}", fix="name it by its address")
    return found[0]


def emptied(
    lab: Lab, node: NodeStatus, *, undo: bool, seconds: float, say: Callable[[str], None]
) -> None:
    """Have replicas leave a node, and wait until they have; or let it have some again.

    Raises:
        UpstreamError: they did not, within so many seconds; they go on trying.
    """
    if undo:
        change(lab, take=[node.host])
        return
    change(lab, drain=[node.host])
    deadline, said = time.monotonic() + seconds, ""
    while left := _left(lab, node):
        if (told := f"{', '.join(left)} still there") != said:
            say(told)
            said = told
        if time.monotonic() > deadline:
            raise UpstreamError(
                f"{', '.join(left)} did not leave {node.name} within {seconds:g} s",
                fix="llmlab node list shows whether others have room; "
                f"llmlab node drain {node.name} --undo takes it back",
            )
        time.sleep(POLL)


def _left(lab: Lab, node: NodeStatus) -> tuple[str, ...]:
    """The replicas on it; all of them until the placer has heard of it."""
    known = [one for one in read_placement(lab).machines if one.host == node.host]
    if any(one.state == "ready" for one in known):
        return node.replicas
    return tuple(name for one in known for name in one.replicas)
