"""What is done to the machines of a bed, one thing after the other, and what is seen of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.ray_bed import NEVER, REPLICAS, Bed, Look
from benchmarks.ray_nodes import Node

WORKERS = 3
Say = Callable[[str], None]


@dataclass(frozen=True)
class Event:
    """One thing that was done to the machines.

    Args:
        at: seconds since the load began.
        right: seconds until it had come right again, as the placer saw it; None for never.
        load: how many processes wanted a core just then, by the system's own figure.
    """

    what: str
    at: float
    right: float | None
    load: float
    seen: Mapping[str, Any] = field(default_factory=dict)


class Story:
    """What is done to the machines, one thing after the other."""

    def __init__(self, found: Bed, say: Say, space: float, away: float) -> None:
        self._bed, self._say, self._space, self._away = found, say, space, away
        self.begin = time.monotonic()
        self.events: list[Event] = []

    def _did(self, what: str, at: float, right: float, **seen: Any) -> None:
        took = None if right == NEVER else round(right, 1)
        load = round(os.getloadavg()[0], 1)
        self.events.append(Event(what, round(at - self.begin, 1), took, load, seen))
        self._say(f"{what}: {'never right' if took is None else f'right after {took} s'} {seen}")

    def whole(self, seconds: float) -> None:
        """All of it, and load until so many seconds are over."""
        time.sleep(self._space / 2)
        self.actor("kill -9 of an actor")
        self._pause()
        self.node("kill -9 of a raylet", lambda node: node.raylets()[0].kill())
        self.joins(WORKERS + 1)
        self._pause()
        self.node("kill -9 of all processes of a node", Node.kill)
        self.joins(WORKERS + 2)
        self._pause()
        self.head()
        self._pause()
        self.actor("kill -9 of an actor, after the head's return")
        self.joins(WORKERS + 3)
        time.sleep(max(0.0, self.begin + seconds - time.monotonic()))

    def _pause(self) -> None:
        time.sleep(self._space)

    def actor(self, what: str) -> None:
        name, at = "replica.1", time.monotonic()
        before = self._bed.look()["replicas"][name]
        os.kill(before["actor"], signal.SIGKILL)
        self._did(what, at, self._bed.until(lambda look: another(look, name, before)))

    def node(self, what: str, kill: Callable[[Node], None]) -> None:
        name, at = "replica.2", time.monotonic()
        before, node = self._bed.look()["replicas"][name], self._bed.node_of(name)
        kill(node)
        right = self._bed.until(
            lambda look: (
                another(look, name, before)
                and all(one["host"] != node.address for one in look["replicas"].values())
            )
        )
        self._did(what, at, right)

    def joins(self, number: int) -> None:
        at = time.monotonic()
        node = self._bed.join(number)
        took = time.monotonic() - at
        right = self._bed.until(lambda look: [node.address, True] in look["nodes"])
        self._did("a node joins", at, took + right)

    def head(self) -> None:
        """The head dies, stays away, and comes back on what it has written."""
        found, at = self._bed, time.monotonic()
        before, placers = found.look()["replicas"], found.placers
        alive = sorted(address for address, alive in found.look()["nodes"] if alive)
        found.head.kill()
        time.sleep(self._away)
        answering = found.answering(list(before.values()))
        found.head.start()
        back = time.monotonic()
        right = found.until(
            lambda look: (
                len(look["replicas"]) == REPLICAS
                and sorted(address for address, alive in look["nodes"] if alive) == alive
            )
        )
        after = found.look()["replicas"]
        self._did(
            f"the head is killed, and back after {self._away:g} s", at,
            right + back - at, answering_while_away=answering,
            same=sum(same(before[name], after.get(name)) for name in before),
            placers=found.placers - placers,
        )  # fmt: skip


def another(look: Look, name: str, before: Look) -> bool:
    found = look["replicas"].get(name)
    return len(look["replicas"]) == REPLICAS and not same(before, found)


def same(one: Look, other: Look | None) -> bool:
    return other is not None and (one["actor"], one["api"]) == (other["actor"], other["api"])
