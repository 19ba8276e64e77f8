"""Which bounds the replicas of a deployment have, and how one is that has none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llmlab.config.scale import Scale
from llmlab.engines.base import Plan
from llmlab.engines.record import Record
from llmlab.engines.status import DeploymentStatus
from llmlab.errors import UpstreamError, UsageError
from llmlab.lab import Lab
from llmlab.registry.catalogue import called

RESTING = "RESTING"  # the state of one, where a process would have another


def bounds_of(plan: Plan, deployment: str) -> Scale:
    """Those of its model; else, for the registry says nothing of it, those of the model of lab.toml
    that it is a version of, or in the place of which it has become the stable one. A promotion
    ends no scaling. Of one that runs already, or still, and is not in the plan, none."""
    return next((one for one in _said_of(plan, deployment) if one.is_on), Scale())


def _said_of(plan: Plan, deployment: str) -> Iterator[Scale]:
    if deployment not in plan.names:
        return
    settings, models = plan.settings(deployment), plan.config.models
    yield settings.model.scale
    names = [called(settings.name)]
    names += [first for route, first in plan.routes.items() if plan.leading(route) == deployment]
    for name in names:
        if name in models:
            yield models[name].scale


def told_of(plan: Plan, deployment: str) -> str:
    """As ``1-4``; "" where there are none."""
    scale = bounds_of(plan, deployment)
    return scale.told if scale.is_on else ""


@contextmanager
def told_where_it_rests(lab: Lab, process: str) -> Iterator[None]:
    """Whoever asks a deployment in vain is told of it where it rests.

    Args:
        process: the deployment, or one of its replicas.
    """
    try:
        yield
    except UpstreamError as error:
        record, name = Record.read(lab), process.partition(".")[0]
        plan = record.plan() if record else None
        if plan and name in plan.names and not plan.replicas(name):
            raise UpstreamError(
                f"{name} rests, and has no process", fix=f"llmlab deployment scale {name} 1"
            ) from error
        raise


def are_scaled(plan: Plan) -> list[str]:
    """The deployments that have bounds."""
    return [name for name in plan.names if bounds_of(plan, name).is_on]


def refuse_outside(plan: Plan, deployment: str, replicas: int) -> None:
    """
    Raises:
        UsageError: so many are outside of its bounds, and would be changed at once.
    """
    scale = bounds_of(plan, deployment)
    if scale.is_on and not scale.min <= replicas <= scale.max:
        raise UsageError(
            f"the replicas of {deployment} follow what is asked, between {scale.min} and "
            f"{scale.max}: {replicas} would not stay",
            fix=f"llmlab deployment scale {deployment} {min(max(replicas, scale.min), scale.max)}, "
            f"or change the scale of its model in configs/lab.toml, then llmlab up",
        )


def resting(plan: Plan, deployment: str) -> DeploymentStatus:
    """How one is that rests: as well as it should be."""
    settings = plan.settings(deployment)
    return DeploymentStatus(
        name=deployment, model=settings.name, model_id="", runtime=settings.model.runtime,
        healthy=True, weight=0, state=RESTING, replicas=0, ready=0,
        bounds=told_of(plan, deployment),
    )  # fmt: skip
