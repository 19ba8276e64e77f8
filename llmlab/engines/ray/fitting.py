"""May a lab run by this engine, on this machine?"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Collection, Sequence

from llmlab.config.ray import Ray
from llmlab.engines.ray.wanted import Wanted
from llmlab.engines.status import NodeStatus
from llmlab.errors import EnvironmentFailure, UsageError
from llmlab.network import port_holder, port_is_free


def refuse_without_ray() -> None:
    """
    Raises:
        EnvironmentFailure: ray is not installed, or this is no Linux.
    """
    if importlib.util.find_spec("ray") is None:
        raise EnvironmentFailure(
            "the engine ray needs the package ray", fix="pip install 'llmlab[ray]'"
        )
    if sys.platform != "linux":
        raise EnvironmentFailure("the engine ray runs on Linux", fix="llmlab up --engine local")


def refuse_taken(ray: Ray, but: Collection[str] = ()) -> None:
    """
    Args:
        but: keys of ports that the lab's own programs listen at.

    Raises:
        UsageError: its address is another machine's.
        EnvironmentFailure: somebody has one of its ports.
    """
    if not port_is_free(ray.host, 0):
        raise UsageError(
            f"ray.host: {ray.host} is no address of this machine",
            fix="set it to one at which the nodes reach this machine, or to 127.0.0.1",
        )
    wanted = {"link_port": ray.link_port} | ({} if ray.address else {"port": ray.port})
    for key, port in wanted.items():
        if key not in but and not port_is_free(ray.host, port):
            raise EnvironmentFailure(
                f"{ray.host}:{port} is taken by {port_holder(port)}",
                fix=f"stop it, or set another {key} in [ray] of lab.toml",
            )


def refuse_moved(was: Ray, now: Ray) -> None:
    """
    Args:
        was: what the lab was brought up with, which its replicas and its head go by.

    Raises:
        UsageError: it is another one. Replicas that nobody asks any more would be left there.
    """
    other = [key for key in Ray.model_fields if getattr(was, key) != getattr(now, key)]
    if not other:
        return
    as_before = f"llmlab up --address {was.address}, as before; or " if was.address else ""
    raise UsageError(
        f"what runs was brought up with another {' and '.join(other)} in [ray], and goes by that",
        fix=(as_before if other == ["address"] else "") + "llmlab down, then llmlab up",
    )


def fits_nowhere(one: Wanted, machines: Sequence[NodeStatus]) -> bool:
    """Whether no machine could have it, were it empty; not as long as none is known."""
    return bool(machines) and not any(
        one.fits(node.cores, node.gpus, node.memory) for node in machines
    )
