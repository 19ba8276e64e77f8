"""Whether replicas can be reached from the gateway's machine: that they are ready they say by what
they see on their own one, and a firewall may lie between."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from llmlab.engines.ray.reconcile import Actor
from llmlab.errors import unreadable
from llmlab.links.conf import CONNECT

log = logging.getLogger("llmlab.placer")
AGAIN = 2.0  # seconds from one try to the next
AT_ONCE = 8

Where = tuple[str, str, int]  # incarnation, host, port


def connect(host: str, port: int) -> None:
    """
    Raises:
        OSError: it could not, in the time that a link has for it.
    """
    socket.create_connection((host, port), timeout=CONNECT).close()


@dataclass(frozen=True)
class Try:
    """``at``: monotonic seconds. ``said``: why it was not reached, "" where it was; ``before``:
    what the try before this one said."""

    at: float
    said: Future[str]
    before: str = ""


class Reaching:
    """What was tried, of the replicas that are there; nobody waits for it. ``settled``: whether it
    was known of each of them, the last time that somebody asked.

    Args:
        connect: with a host and a port; an OSError says that it cannot be done.
    """

    def __init__(self, connect: Callable[[str, int], None] = connect) -> None:
        self._connect = connect
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="reach")
        self._tries: dict[Where, Try] = {}
        self.settled = True

    def believed(self, actors: Sequence[Actor]) -> list[Actor]:
        """The same, but as one that serves none that was never reached where it is: a link
        would lead nowhere, and the replica that does serve would be ended."""
        there = {(one.look.incarnation, one.look.host, one.look.port) for one in actors if one.look}
        self._tries = {where: one for where, one in self._tries.items() if where in there}
        self.settled = True
        return [self._believed(one) for one in actors]

    def _believed(self, actor: Actor) -> Actor:
        look = actor.look
        if look is None or not actor.serves:
            return actor
        why = self._unreached((look.incarnation, look.host, look.port))
        if why is None:
            return actor
        self.settled = self.settled and why != ""
        return replace(actor, look=replace(look, phase="starting", why=why))

    def _unreached(self, where: Where) -> str | None:
        """Why it was not, "" where nobody knows yet; None: it was."""
        tried = self._tries.get(where)
        if tried is None:
            tried = self._begin(where)
        if not tried.said.done():
            return tried.before
        said = tried.said.result()
        if said and time.monotonic() - tried.at > AGAIN:
            if said != tried.before:
                log.error("%s", said)
            self._begin(where, said)
        return said or None

    def _begin(self, where: Where, before: str = "") -> Try:
        said = self._pool.submit(self._try, *where[1:])
        self._tries[where] = Try(time.monotonic(), said, before)
        return self._tries[where]

    def _try(self, host: str, port: int) -> str:
        try:
            self._connect(host, port)
        except (OSError, OverflowError) as error:  # the latter by a port that is none
            why = "no answer" if isinstance(error, TimeoutError) else unreadable(error)
            return (
                f"{host}:{port} cannot be reached from the gateway's machine: {why}; "
                "does a firewall there let it in to ray.replica_ports?"
            )
        return ""
