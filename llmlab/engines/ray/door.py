"""A replica's door on its node: an NGINX that speaks TLS there, and lets in nobody but the gateway.
By the same way back its API tells what it has used."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from llmlab.engines.local.staging import worker_user
from llmlab.errors import EnvironmentFailure
from llmlab.gateway import find_nginx
from llmlab.links.binary import for_links
from llmlab.links.conf import TRUSTED, End, Link, Setting, Settlements, node_side
from llmlab.links.request import KEY
from llmlab.links.server import Server

TRIES = 20


@dataclass(frozen=True)
class Door:
    """How it is started, and where it is."""

    command: tuple[str, ...]
    port: int


def make_door(
    folder: Path,
    process: str,
    deployment: str,
    *,
    certificate: str,
    trusted: str,
    api: Path,
    back: Settlements,
    host: str,
    ports: Sequence[int],
    longest: float,
) -> Door:
    """
    Args:
        folder: where the replica's key is.
        certificate: of that key; ``trusted``: who signs for the gateway. Both PEM.
        api: where the replica listens on this machine.
        back: where its API tells what it has used, and who takes that.
        host: this machine's own address; ``ports``: one of them it is.
        longest: seconds that an answer may take.

    Raises:
        EnvironmentFailure: there is no free port, or no nginx that can do it.
    """
    server = Server(folder / "server", for_links(find_nginx()), lambda: None)
    key = (folder / KEY).read_text(encoding="ascii")
    problem: EnvironmentFailure | None = None
    for port in _free(host, ports):
        end = End(Link(process, deployment, api, host, port), back)
        files = {end.certificate: certificate, end.key: key, TRUSTED: trusted}
        try:
            server.go_by(node_side([end], Setting(longest, worker_user())), files)
        except EnvironmentFailure as error:  # somebody else has taken that port just now
            problem = error
            continue
        return Door(server.command, port)
    raise problem or EnvironmentFailure(
        f"no port of {ports[0]}-{ports[-1]} is free at {host}", fix="ray.replica_ports of lab.toml"
    )


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
