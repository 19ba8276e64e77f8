"""What is to be done, given what is wanted and what there is: no Ray, no clock, no disk."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from llmlab.engines.ray.replica import Look
from llmlab.engines.ray.wanted import Wanted
from llmlab.links.names import INCARNATION

NAME = re.compile(r"([a-z0-9.-]+)@([0-9a-f]+)\.(\d+)")


@dataclass(frozen=True)
class Actor:
    """A replica as Ray knows it.

    Args:
        look: how it is; None where that is not known, or not yet.
        gone: Ray says that it does not live at the moment.
        dead: why it could not even begin; Ray does not try again.
        spent: nothing comes of it; another one is to be tried in its place.
    """

    name: str
    look: Look | None = None
    gone: bool = False
    dead: str = ""
    spent: bool = False

    @property
    def process(self) -> str:
        return parsed(self.name)[0]

    @property
    def version(self) -> str:
        return parsed(self.name)[1]

    @property
    def turn(self) -> int:
        return parsed(self.name)[2]

    @property
    def serves(self) -> bool:
        return not self.gone and self.look is not None and self.look.phase == "ready"


@dataclass(frozen=True)
class Steps:
    """
    Args:
        create: (name, what) of actors that are missing.
        end: names of actors that nobody wants any more.
        links: {process: the actor that it leads to}.
    """

    create: tuple[tuple[str, Wanted], ...]
    end: tuple[str, ...]
    links: Mapping[str, Actor]


def believed(actor: Actor, hosts: Mapping[str, str]) -> Actor:
    """The same, but not as one that serves where it says to be where it cannot be: a link would
    lead there, and one that NGINX does not take would keep all others from moving.

    Args:
        hosts: {node: its address}, as Ray has them; empty where that is not known yet.
    """
    look = actor.look
    if look is None or not look.port:
        return actor
    host = hosts.get(look.node) if hosts else look.host
    why = f"it says {look.host}:{look.port}, and its node is at {host or 'no known address'}"
    if not INCARNATION.fullmatch(look.incarnation):
        why = f"it says to be {look.incarnation!r}, which is no incarnation"
    elif host == look.host and 0 < look.port < 65536:
        return actor
    return replace(actor, look=replace(look, phase="starting", why=why))


def name_of(process: str, version: str, turn: int) -> str:
    return f"{process}@{version}.{turn}"


def parsed(name: str) -> tuple[str, str, int]:
    """Process, version and turn of an actor.

    Raises:
        ValueError: it is no name of one.
    """
    found = NAME.fullmatch(name)
    if not found:
        raise ValueError(f"{name!r} is no replica's name")
    return found[1], found[2], int(found[3])


def reconcile(
    wanted: Sequence[Wanted], actors: Sequence[Actor], drained: Collection[str] = ()
) -> Steps:
    """
    Args:
        drained: nodes that replicas leave: each goes once another one serves in its place.
    """
    create: list[tuple[str, Wanted]] = []
    end: list[str] = []
    links: dict[str, Actor] = {}
    for one in wanted:
        mine = [actor for actor in actors if actor.process == one.process]
        good = [
            actor for actor in mine
            if actor.version == one.version and not actor.spent
            and not (actor.look and actor.look.node in drained)
        ]  # fmt: skip
        if not good:
            turn = max((actor.turn for actor in mine), default=0) + 1
            create.append((name_of(one.process, one.version, turn), one))
        newest = max((actor for actor in good if actor.serves), key=_turn, default=None)
        serving = newest or max((actor for actor in mine if actor.serves), key=_turn, default=None)
        if serving:
            links[one.process] = serving
        if newest:
            end += [actor.name for actor in mine if actor.name != newest.name]
    names = {one.process for one in wanted}
    end += [actor.name for actor in actors if actor.process not in names or actor.spent]
    return Steps(tuple(create), tuple(dict.fromkeys(end)), links)


def _turn(actor: Actor) -> int:
    return actor.turn
