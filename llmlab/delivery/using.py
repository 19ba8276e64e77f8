"""Who uses a model: lab.toml, aliases, and the deployments of the lab that runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from llmlab.config import Model
from llmlab.engines.base import Plan
from llmlab.engines.choice import running_engine
from llmlab.engines.record import Record as Running
from llmlab.errors import EnvironmentFailure
from llmlab.lab import Lab
from llmlab.registry.catalogue import Catalogue, Known
from llmlab.registry.listing import roles_of


@dataclass(frozen=True)
class Used:
    """Who uses a model.

    Args:
        role: in lab.toml: stable or fallback; "" for neither.
        serving: deployments that run, in words.
    """

    role: str = ""
    aliases: Sequence[str] = ()
    serving: Sequence[str] = field(default_factory=list)


def used_of(lab: Lab, catalogue: Catalogue, known: Known) -> Used:
    record = known.record
    names = {known.name, record.reference} if record else {known.name}
    role = next((role for name, role in roles_of(catalogue).items() if name in names), "")
    to = catalogue.registry.aliases().items() if record else ()
    aliases = [alias for alias, target in to if record and target == record.reference]
    plan = running_plan(lab)
    return Used(role, aliases, serving(plan, known) if plan else [])


def running_plan(lab: Lab) -> Plan | None:
    """None: the lab does not run."""
    running = Running.read(lab)
    try:
        runs = running is not None and running_engine(lab) is not None
    except EnvironmentFailure:  # no Docker engine answers, so nothing of this lab does
        runs = False
    return running.plan() if running and runs else None


def serving(plan: Plan, known: Known) -> list[str]:
    """The deployments of what runs that serve a model, in words."""
    names = {known.name, known.record.reference} if known.record else {known.name}
    record = known.record
    return [
        f"{one.deployment}, {_part(plan, one.deployment)}"
        for one in plan.deployments
        if one.name in names
        or (record and record.serves(one.model, one.prompt))
        or _is_same(one.model, known)
    ]


def _part(plan: Plan, deployment: str) -> str:
    """``5 % of summarize, 100 % of chat``, ``by a match of summarize``; ``by name only`` of what no
    route leads to."""
    parts = [f"{share:g} % of {route}" for route, share in plan.weights(deployment).items()]
    for name in plan.routes:
        route, flags = plan.traffic.route(name), plan.traffic.flags_of(name)
        parts += [f"by a match of {name}"] if deployment in {
            one.deployment for one in route.matches} else []  # fmt: skip
        parts += [f"by a flag of {name}"] if deployment in {one.deployment for one in flags} else []
        copies = route.shadow and route.shadow.deployment == deployment
        parts += [f"copies of {name}"] if copies else []
    return ", ".join(parts) or "by name only"


def _is_same(model: Model, known: Known) -> bool:
    """Whether it is made of the same, under whatever name it is served."""
    return _made_of(model) == _made_of(known.model)


def _made_of(model: Model) -> tuple[object, ...]:
    return (
        model.runtime, model.source, model.revision, model.compute_type, model.file, model.prompt,
        model.decoding, model.max_length, model.min_length, model.base_url, model.model,
    )  # fmt: skip
