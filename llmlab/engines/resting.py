"""Which deployments may rest: be there without a process, until somebody wants them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmlab.engines.base import Plan


def needed(plan: Plan, deployment: str) -> str:
    """Why a deployment may not rest, in half a sentence; "" where it may.

    Those that lab.toml puts behind a route never do: a rollout that is aborted, or undone, goes
    back to them, and is not to wait for a model.
    """
    for name, stable in plan.routes.items():
        if deployment == stable:
            return f"it is the stable deployment of {name} in lab.toml"
        if deployment == plan.leading(name):
            return f"it is the stable deployment of {name}"
    for name, route in plan.traffic.routes.items():
        if deployment in route.targets():
            return f"requests of {name} lead to it"
    for flag in plan.traffic.flags:
        if deployment == flag.deployment:
            return f"the flag {flag.name} leads to it"
    for other in plan.deployments:
        if deployment == other.model.fallback:
            return f"it answers while {other.deployment} does not"
    return ""
