"""Paths and addresses as they stand in the configuration of links; others are refused. Pure."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

from llmlab.errors import ConfigError

SOCKET = re.compile(r"/[A-Za-z0-9._/@+=,-]+")
LONGEST_SOCKET = 107  # bytes
OWN_ADDRESS = "name the machine by its address in the network that both are in: ip -brief address"


def unix(path: Path) -> str:
    """A socket, at which NGINX listens or to which it passes on.

    Raises:
        ConfigError: NGINX or the system would not take it.
    """
    said = str(path)
    if not SOCKET.fullmatch(said) or len(said) > LONGEST_SOCKET:
        raise ConfigError(
            f"{said!r} cannot be a link's socket: it takes an absolute path of letters, digits "
            f"and ._/@+=,- that has at most {LONGEST_SOCKET} bytes",
            fix="choose another folder for it",
        )
    return f"unix:{said}"


def address(host: str, port: int) -> str:
    """A name is refused: NGINX would ask for it once, when it starts.

    Raises:
        ConfigError: it is none of one machine.
    """
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        raise ConfigError(
            f"{host!r} cannot be a link's end: it is no address", fix=OWN_ADDRESS
        ) from None
    if found.is_unspecified or found.is_multicast or "%" in host:
        raise ConfigError(
            f"{host!r} cannot be a link's end: it is not one machine's own", fix=OWN_ADDRESS
        )
    if not 0 < port < 65536:
        raise ConfigError(f"{port} cannot be a link's port", fix="choose one from 1 to 65535")
    return f"[{found}]:{port}" if found.version == 6 else f"{found}:{port}"


def quoted(path: str) -> str:
    """A path as it stands between quotes.

    Raises:
        ConfigError: it holds what could mean something there.
    """
    if any(ord(letter) < 32 for letter in path) or "$" in path:
        raise ConfigError(
            f"{path!r} cannot stand in NGINX's configuration",
            fix="choose a path without $ and control characters",
        )
    return path.replace("\\", "\\\\").replace('"', '\\"')
