"""A replica's door on its node: an NGINX that speaks TLS there, and lets in nobody but the gateway.
By the same way back its API tells what it has used."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from llmlab.engines.local.staging import worker_user
from llmlab.engines.ray.kept import Kept
from llmlab.errors import EnvironmentFailure
from llmlab.gateway import find_nginx
from llmlab.links.authority import due
from llmlab.links.binary import for_links
from llmlab.links.conf import TRUSTED, End, Link, Setting, Settlements, node_side
from llmlab.links.request import KEY, make
from llmlab.links.server import Server
from llmlab.shell import last_lines

TRIES = 20
GIVEN_UP = 5.0  # seconds in which one ends that does not listen


@dataclass(frozen=True)
class Place:
    """Where a door is.

    Args:
        api: the socket of its replica on this machine.
        back: where the replica's API tells what it has used, and who takes that.
        host: this machine's own address; ``ports``: one of them it has.
        longest: seconds of the longest answer.
    """

    api: Path
    back: Settlements
    host: str
    ports: Sequence[int]
    longest: float


class Door:
    """Of one replica.

    Args:
        folder: for its owner only; its keys are below, each with the certificate that it has.
    """

    def __init__(self, folder: Path, process: str, deployment: str) -> None:
        self._folder, self._process, self._deployment = folder, process, deployment
        self._asked = 0
        self._server: Server | None = None
        self._end: End | None = None
        self._kept: Kept | None = None
        self.port, self.due = 0, 0.0

    def request(self) -> bytes:
        """A certificate signing request, PEM, for a new key."""
        self._asked += 1
        return make(self._keys, self._process, self._deployment)

    def open(self, place: Place, certificate: str, trusted: str, env: Mapping[str, str]) -> None:
        """Have it there.

        Args:
            certificate: of the newest key; ``trusted``: who signs for the gateway. Both PEM.

        Raises:
            EnvironmentFailure: there is no free port, or no nginx that can do it.
        """
        server = Server(self._folder / "server", for_links(find_nginx()), lambda: self.pid or None)
        setting, problem = Setting(place.longest, worker_user()), None
        for port in _free(place.host, place.ports):
            link = Link(self._process, self._deployment, place.api, place.host, port)
            end = End(link, place.back)
            try:
                server.go_by(node_side([end], setting), self._files(end, certificate, trusted))
                self._start(server, env)
            except EnvironmentFailure as error:  # somebody else has taken that port just now
                problem = error
                continue
            self._server, self._end, self._setting, self.port = server, end, setting, port
            self.due = due(certificate).timestamp()
            return
        first, last = place.ports[0], place.ports[-1]
        raise problem or EnvironmentFailure(
            f"no port of {first}-{last} is free at {place.host}",
            fix="ray.replica_ports of lab.toml",
        )

    def _start(self, server: Server, env: Mapping[str, str]) -> None:
        """Returns once it listens: what ``nginx -t`` accepts may still find its port taken, and
        would be started again and again."""
        kept = Kept(self._folder, server.command, env, log="door.log", ends_by=signal.SIGQUIT)
        self._kept = kept
        kept.start()
        try:
            server.wait_until_it_listens()
        except BaseException:
            kept.end(GIVEN_UP)
            raise

    def renew(self, certificate: str, trusted: str) -> None:
        """Go by another certificate, of the newest key; what is under way goes on.

        Raises:
            EnvironmentFailure: it goes on by the one from before.
        """
        assert self._server and self._end
        text = node_side([self._end], self._setting)
        self._server.go_by(text, self._files(self._end, certificate, trusted))
        self.due = due(certificate).timestamp()

    @property
    def pid(self) -> int:
        return self._kept.pid if self._kept else 0

    @property
    def said(self) -> str:
        """The end of its log, for when it does not run."""
        return last_lines(self._kept.log) if self._kept else ""

    def close(self, patience: float) -> None:
        if self._kept:
            self._kept.end(patience)

    @property
    def _keys(self) -> Path:
        return self._folder / f"key-{self._asked}"

    def _files(self, end: End, certificate: str, trusted: str) -> dict[str, str]:
        key = (self._keys / KEY).read_text(encoding="ascii")
        return {end.certificate: certificate, end.key: key, TRUSTED: trusted}


def _free(host: str, ports: Sequence[int]) -> list[int]:
    """Some that nobody listens at, beginning anywhere: replicas start at the same time."""
    first = int.from_bytes(os.urandom(2), "big") % len(ports)
    found: list[int] = []
    for port in (*ports[first:], *ports[:first]):
        with closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind((host, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == TRIES:
            break
    return found
