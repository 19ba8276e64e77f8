"""May gateway and notebook server listen where they are to, and with these keys?"""

from __future__ import annotations

from pathlib import Path

from llmlab.auth import KeySet, demo
from llmlab.config import Config
from llmlab.errors import EnvironmentFailure, UsageError
from llmlab.network import port_holder, port_is_free, port_is_held_in
from llmlab.notebook.access import HOST as NOTEBOOK_HOST

UNAUTHORIZED = 401


def check_address(config: Config, *, ours: Path | None = None) -> None:
    """Look whether the gateway's address is this machine's, and its port free.

    Args:
        ours: the folder in which this lab's processes work; they may have the port, to give it
            to their successors.

    Raises:
        UsageError: the address is another machine's.
        EnvironmentFailure: another process has the port.
    """
    host, port = config.gateway.host, config.gateway.port
    if not port_is_free(host, 0):
        raise UsageError(
            f"gateway.host: {host} is no address of this machine",
            fix="set gateway.host to 127.0.0.1",
        )
    _check_port(host, port, verb="up", key="gateway.port", ours=ours)
    plain = config.gateway.tls.redirect_port if config.gateway.tls.enabled else 0
    if plain and not port_is_free(host, plain) and not (ours and port_is_held_in(ours, plain)):
        raise EnvironmentFailure(
            f"port {plain} is taken by {port_holder(plain)}, or not for users like this one",
            fix="stop it, or set another redirect_port in [gateway.tls]; 0 = none",
        )


def check_notebook_port(port: int) -> None:
    """Raise EnvironmentFailure, with who has it, where JupyterLab cannot have this port."""
    _check_port(NOTEBOOK_HOST, port, verb="notebook", key="jupyter.port")


def _check_port(host: str, port: int, *, verb: str, key: str, ours: Path | None = None) -> None:
    if not port_is_free(host, port) and not (ours and port_is_held_in(ours, port)):
        raise EnvironmentFailure(
            f"port {port} is taken by {port_holder(port)}",
            fix=f"stop it, or llmlab {verb} --port {port + 1} (for good: {key} in lab.toml)",
        )


def refuse_in_clear(config: Config) -> None:
    """Raise UsageError where others could read on the way what is asked, tokens included, and
    nobody has said that they may."""
    if config.gateway.in_clear and not config.gateway.insecure:
        raise UsageError(
            f"other machines could reach the gateway at {config.gateway.host}, and without TLS "
            "everybody on the way could read tokens and texts",
            fix="llmlab up --tls; or llmlab up --insecure, where something else encrypts them (for "
            "good: enabled of [gateway.tls], or gateway.insecure, in lab.toml)",
        )


def refuse_demo_beyond_loopback(config: Config, keys: KeySet) -> None:
    """Raise UsageError where the published key would let other machines in."""
    if keys.has_demo and not config.gateway.loopback:
        raise UsageError(
            f"the published demo key would let anybody in through {config.gateway.host}; "
            "demo mode is for loopback only",
            fix=f"llmlab keys revoke {demo.KID}, or set gateway.host to 127.0.0.1",
        )


def refuse_open(status: int | None) -> None:
    """Raise UsageError unless a gateway that was asked without a token has said 401."""
    if status != UNAUTHORIZED:
        raise UsageError(
            "the gateway does not ask for a token: without one it answers "
            f"{status or 'nothing'} at /summarize/ instead of {UNAUTHORIZED}",
            fix="have auth_jwt, auth_jwt_key_file and auth_jwt_require in the server of "
            "nginx.conf (llmlab init FOLDER lays out one that has them); then llmlab up",
        )
