"""Deployments beside those of lab.toml: which may be wanted, and which may go."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from llmlab.config.schema import wrong_name
from llmlab.engines.attendants import rollout_is_unfinished
from llmlab.engines.base import Plan
from llmlab.engines.resting import needed
from llmlab.engines.scale_bounds import refuse_outside
from llmlab.errors import UsageError
from llmlab.lab import Lab
from llmlab.near import hint
from llmlab.registry.catalogue import Catalogue
from llmlab.traffic import MOST_REPLICAS, Deployed, Route, Split, Traffic


def pinned(catalogue: Catalogue, reference: str) -> tuple[str, str]:
    """(usual name of its deployment, reference that means the same model tomorrow): an alias
    may lead elsewhere by then.

    Args:
        catalogue: of lab.toml as it is.

    Raises:
        UsageError: there is no such model.
    """
    known = catalogue.get(reference)
    if known.record is None or known.name in catalogue.config.models:
        return known.name, known.name
    return f"{known.record.name}-{known.record.version}", known.record.reference


def deployed(plan: Plan, traffic: Traffic, wanted: Deployed) -> Traffic:
    """Traffic with one more deployment, or with another number of its replicas.

    Raises:
        UsageError: its name cannot be one, or is another one's.
    """
    if problem := wrong_name(wanted.name):
        raise UsageError(problem.replace("a model's name", "a deployment's name"))
    check_replicas(wanted.replicas)
    if plan.is_configured(wanted.name):
        raise UsageError(
            f"lab.toml has a deployment {wanted.name} already, which runs",
            fix="llmlab deploy MODEL --name ANOTHER",
        )
    there = traffic.deployed(wanted.name)
    if there and (there.model, there.rollout) != (wanted.model, wanted.rollout):
        raise UsageError(
            f"{there.name} is deployed already, with the model {there.model}",
            fix=f"llmlab deployment stop {there.name}, or llmlab deploy MODEL --name ANOTHER",
        )
    return _with(traffic, wanted)


def scaled(
    plan: Plan, traffic: Traffic, name: str, replicas: int, *, tried: Collection[str] = ()
) -> Traffic:
    """Traffic with as many replicas of a deployment as a person wants.

    Args:
        tried: the deployments that rollouts name which are under way, with traffic yet or without.

    Raises:
        UsageError: there is none of that name, or so many cannot be, or would not stay.
    """
    check_replicas(replicas, least=0)
    if traffic.deployed(name) is None and not plan.is_configured(name):
        raise _unknown(plan, name)
    if not replicas and name in tried:
        raise UsageError(
            f"{name} cannot rest: a rollout that is under way names it", fix="llmlab rollout abort"
        )
    if name in plan.names:
        refuse_outside(plan, name, replicas)
    return resized(plan, traffic, name, replicas)


def resized(
    plan: Plan, traffic: Traffic, name: str, replicas: int, *, was: int | None = None
) -> Traffic:
    """Traffic with so many replicas of a deployment that there is; 0: it rests.

    Args:
        was: how many they are taken to be.

    Raises:
        UsageError: it may not rest, or they are another number by now.
    """
    now = replace(plan, traffic=traffic)
    if was is not None and now.replicas(name) != was:
        raise UsageError(f"{name} has {now.replicas(name)} replicas by now, and not {was}")
    if not replicas and (why := needed(now, name)):
        raise UsageError(f"{name} cannot rest: {why}", fix=f"llmlab deployment scale {name} 1")
    there = traffic.deployed(name)
    if plan.is_configured(name):
        rest = tuple(one for one in traffic.deployments if one.name != name)
        own = next(one for one in plan.deployments if one.deployment == name)
        several = (Deployed(name, own.name, replicas),) if replicas != 1 else ()
        return replace(traffic, deployments=(*rest, *several))
    if there is None:
        raise _unknown(plan, name)
    return _with(traffic, replace(there, replicas=replicas))


def undeployed(lab: Lab, plan: Plan, traffic: Traffic, name: str, *, force: bool) -> Traffic:
    """Traffic without a deployment.

    Args:
        force: without the routes that lead to it, too.

    Raises:
        UsageError: it is lab.toml's, or a route or a rollout leads to it.
    """
    if plan.is_configured(name):
        raise _configured(plan, name)
    there = traffic.deployed(name)
    if there is None:
        raise _unknown(plan, name)
    if not force:
        if there.rollout and rollout_is_unfinished(lab):
            raise UsageError(
                f"rollout {there.rollout} started {name} and is not finished",
                fix="llmlab rollout abort",
            )
        if name in traffic.targets():
            raise UsageError(
                f"requests are routed to {name}",
                fix=f"llmlab deployment stop {name} --force takes the routes away as well",
            )
    rest = tuple(one for one in traffic.deployments if one.name != name)
    return replace(_without_routes(traffic, name), deployments=rest)


def check_replicas(count: int, *, least: int = 1) -> None:
    if not least <= count <= MOST_REPLICAS:
        raise UsageError(f"there can be {least} to {MOST_REPLICAS} replicas, not {count}")


def _with(traffic: Traffic, wanted: Deployed) -> Traffic:
    if traffic.deployed(wanted.name) is None:
        return replace(traffic, deployments=(*traffic.deployments, wanted))
    return replace(traffic, deployments=tuple(
        wanted if one.name == wanted.name else one for one in traffic.deployments
    ))  # fmt: skip


def _without_routes(traffic: Traffic, name: str) -> Traffic:
    for route in traffic.routes:
        traffic = traffic.with_route(route, _without(traffic.route(route), name))
    return replace(
        traffic,
        flags=tuple(
            replace(one, deployment="") if one.deployment == name else one for one in traffic.flags
        ),
    )


def _without(route: Route, name: str) -> Route:
    split, shadow = route.split, route.shadow
    if split:
        shares = tuple(one for one in split.shares if one.deployment != name)
        split = Split(shares, split.by, split.salt) if shares else None
    return replace(
        route,
        stable="" if route.stable == name else route.stable,
        split=split,
        matches=tuple(one for one in route.matches if one.deployment != name),
        shadow=None if shadow and shadow.deployment == name else shadow,
    )


def _configured(plan: Plan, name: str) -> UsageError:
    """What `undeploy` cannot stop, for lab.toml (or `up --model`) wants it; by why it does."""
    config = plan.config
    if name in config.deploy:
        return UsageError(
            f"{name} is a deployment of lab.toml",
            fix="take it out of `deploy` in configs/lab.toml, then llmlab up",
        )
    for route, model in config.served.items():
        if name == model:
            return UsageError(
                f"{name} is the stable deployment of {route} in lab.toml, which always runs",
                fix=f"name another one as routes.{route} in configs/lab.toml, then llmlab up",
            )
    if name == plan.stable and name == config.fallback:
        return UsageError(
            f"{name} is the fallback, and answers because {config.stable} cannot be served",
            fix=f"llmlab models pull {config.stable}, or name another model as "
            "routes.summarize in configs/lab.toml, then llmlab up",
        )
    return UsageError(
        f"{name} was started by llmlab up --model {name}",
        fix="llmlab up, with --model for each of those that are to run",
    )


def _unknown(plan: Plan, name: str) -> UsageError:
    return UsageError(
        f"there is no deployment {name!r}; there are {', '.join(plan.names)}"
        f"{hint(name, plan.names)}",
        fix="llmlab status shows them",
    )
