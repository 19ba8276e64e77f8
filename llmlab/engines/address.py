"""May gateway and notebook server listen where they are to, and with these keys?"""

from __future__ import annotations

from llmlab.auth import KeySet, demo
from llmlab.config import Config
from llmlab.errors import EnvironmentFailure, UsageError
from llmlab.network import port_holder, port_is_free
from llmlab.notebook.access import HOST as NOTEBOOK_HOST


def check_address(config: Config) -> None:
    """Look whether the gateway's address is this machine's, and its port free.

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
    _check_port(host, port, verb="up", key="gateway.port")


def check_notebook_port(port: int) -> None:
    """Raise EnvironmentFailure, with who has it, where JupyterLab cannot have this port."""
    _check_port(NOTEBOOK_HOST, port, verb="notebook", key="jupyter.port")


def _check_port(host: str, port: int, *, verb: str, key: str) -> None:
    if not port_is_free(host, port):
        raise EnvironmentFailure(
            f"port {port} is taken by {port_holder(port)}",
            fix=f"stop it, or llmlab {verb} --port {port + 1} (for good: {key} in lab.toml)",
        )


def refuse_demo_beyond_loopback(config: Config, keys: KeySet) -> None:
    """Raise UsageError where the published key would let other machines in."""
    if keys.has_demo and not config.gateway.loopback:
        raise UsageError(
            f"the published demo key would let anybody in through {config.gateway.host}; "
            "demo mode is for loopback only",
            fix=f"llmlab keys revoke {demo.KID}, or set gateway.host to 127.0.0.1",
        )
