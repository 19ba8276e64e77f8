"""Which replicas make room for another try, and which machines that one is kept from: what the
placer remembers of its tries. No Ray, no disk; the clock is the caller's."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from llmlab.engines.ray.fleet import Node
from llmlab.engines.ray.reconcile import Actor
from llmlab.engines.ray.telling import TRIES, Failed
from llmlab.engines.ray.wanted import Wanted
from llmlab.version import __version__

log = logging.getLogger("llmlab.placer")
FIRST, LONGEST = 5.0, 300.0  # seconds until what has failed is tried elsewhere or again
ELSEWHERE = 60.0  # seconds for which it is kept from where it has failed: others may have no room
SILENT = 15.0  # seconds without a word, after which a replica may have nowhere to go


@dataclass(frozen=True)
class Tried:
    """What has failed of a process with the same settings.

    Args:
        turn: of the last one.
        nodes: where.
        due: when (monotonic seconds) another one takes its place.
    """

    version: str
    times: int = 0
    turn: int = 0
    nodes: frozenset[str] = frozenset()
    due: float = 0.0


@dataclass(frozen=True)
class Ground:
    """Where replicas may be: the nodes, and the ids of those that they leave."""

    nodes: Sequence[Node]
    drained: frozenset[str]

    @property
    def alive(self) -> frozenset[str]:
        return frozenset(one.id for one in self.nodes if one.alive)

    def has_one_for(self, one: Wanted, but: Collection[str] = ()) -> bool:
        """Whether a machine could have it, were it empty, that is none of these either."""
        return any(
            one.fits(node.cores, node.gpus, node.memory)
            for node in self.nodes
            if node.alive and node.id not in self.drained and node.id not in but
        )


class Tries:
    """
    Args:
        barred: {actor: ids of nodes that Ray never puts it on, for it was made so}, of the process
            before this one.
    """

    def __init__(
        self,
        barred: Mapping[str, Collection[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.barred = {name: frozenset(ids) for name, ids in barred.items()}
        self._clock = clock
        self._tried: dict[str, Tried] = {}  # by process
        self._counted: set[str] = set()  # actors
        self._spent: set[str] = set()
        self._silent: dict[str, float] = {}  # {actor: since when}
        self._others: set[str] = set()  # nodes with another llmlab

    def ask(self) -> None:
        """Somebody wants to know now: nothing waits any longer."""
        now = self._clock()
        self._tried = {
            process: replace(one, due=min(one.due, now)) for process, one in self._tried.items()
        }

    def but(self, one: Wanted, ground: Ground) -> frozenset[str]:
        """Ids of nodes that another one is kept from: those that are drained and, as long as there
        is one more that it would fit on, those where it has failed or with another llmlab."""
        tried = self._tried.get(one.process)
        recent = tried and tried.version == one.version and self._clock() < tried.due + ELSEWHERE
        for more in (self._others | (tried.nodes if tried and recent else set()), self._others):
            if ground.has_one_for(one, more):
                return ground.drained | more
        return ground.drained

    def judged(
        self, wanted: Sequence[Wanted], actors: Sequence[Actor], ground: Ground,
        failed: Mapping[str, Failed],
    ) -> list[Actor]:  # fmt: skip
        """The same, and which of them are spent.

        Args:
            failed: {actor: what could not be done with it}.
        """
        by_process = {one.process: one for one in wanted}
        self._forget(by_process, {one.name for one in actors})
        looks = [one.look for one in actors if one.look]
        self._others |= {look.node for look in looks if look.version != __version__}
        self._others &= ground.alive
        for actor in actors:
            one = by_process.get(actor.process)
            if one is None or one.version != actor.version:
                continue
            tried = self._tried.get(actor.process)
            if tried and actor.serves and actor.turn > tried.turn:
                del self._tried[actor.process]
            if self._is_spent(one, actor, ground, failed.get(actor.name)):
                self._spent.add(actor.name)  # for good: another one is on its way
        return [replace(one, spent=one.name in self._spent) for one in actors]

    def _forget(self, processes: Collection[str], names: Collection[str]) -> None:
        self._tried = {name: one for name, one in self._tried.items() if name in processes}
        self._silent = {name: at for name, at in self._silent.items() if name in names}
        self.barred = {name: ids for name, ids in self.barred.items() if name in names}
        self._counted.intersection_update(names)
        self._spent.intersection_update(names)

    def _is_spent(self, one: Wanted, actor: Actor, ground: Ground, failed: Failed | None) -> bool:
        look = actor.look
        if not actor.dead and (actor.gone or look is None):
            return self._is_stuck(one, actor.name, ground)
        self._silent.pop(actor.name, None)
        if look and look.phase == "empty":
            if look.version != __version__:
                return ground.has_one_for(one, self._others)
            # Here it is tried again and again; elsewhere it may be another matter.
            fails = failed is not None and failed.times >= TRIES
            if not fails or not ground.has_one_for(one, self._others | {look.node}):
                return False
        elif not actor.dead and not (look and look.phase == "failed"):
            return False
        return self._clock() >= self._counts(actor).due

    def _is_stuck(self, one: Wanted, name: str, ground: Ground) -> bool:
        """Whether it is not heard of, and may not go where one that is made now may."""
        now, barred = self._clock(), self.barred.get(name)
        if now - self._silent.setdefault(name, now) < SILENT:
            return False
        return barred is None or bool((barred & ground.alive) - self.but(one, ground))

    def _counts(self, actor: Actor) -> Tried:
        """That it has failed, once."""
        before = self._tried.get(actor.process)
        if before is None or before.version != actor.version:
            before = Tried(actor.version)
        if actor.name in self._counted:
            return before
        self._counted.add(actor.name)
        waits = min(FIRST * 2**before.times, LONGEST)
        log.warning("%s failed; another one is tried in %g s", actor.name, waits)
        self._tried[actor.process] = found = Tried(
            actor.version, before.times + 1, actor.turn,
            before.nodes | ({actor.look.node} if actor.look else set()), self._clock() + waits,
        )  # fmt: skip
        return found
