"""What runs: the deployments that are configured, and those that were deployed since."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

from llmlab.config import read_config
from llmlab.delivery.pricing import priced
from llmlab.engines.base import Plan, Say
from llmlab.engines.planning import settings_of
from llmlab.errors import ModelUnavailable, UsageError
from llmlab.lab import Lab
from llmlab.names import SUMMARIZE
from llmlab.registry import Registry
from llmlab.registry.catalogue import Catalogue, Known
from llmlab.service.settings import Settings
from llmlab.traffic import Deployed, Traffic

WITHOUT = "Nothing is routed to it, so the lab goes on without."
AS_CONFIGURED = "llmlab up --as-configured forgets what was deployed and routed since"


def merge(
    lab: Lab, plan: Plan, traffic: Traffic, say: Say, *, fetch: bool, runs_here: bool
) -> Plan:
    """A plan with its configured deployments, and the traffic with its own.

    A deployment whose model cannot be had is left out, with a warning, as long as no request
    is meant for it.

    Args:
        fetch: whether a model may be downloaded and converted.
        runs_here: this installation serves the models, rather than a container's.

    Raises:
        ModelUnavailable: a model cannot be had, and requests are routed to it.
        UsageError: a route leads to what is neither configured nor deployed, or two
            deployments would have one name.
    """
    own = [one for one in plan.deployments if plan.is_configured(one.deployment)]
    names = {one.deployment: one for one in own}
    wanted = traffic.targets()
    added: list[Settings] = []
    warnings = [one for one in plan.warnings if WITHOUT not in one]  # those are of before
    resolve = resolver(lab, plan)
    for one in traffic.deployments:
        try:
            known = resolve(one.model)
            if there := names.get(one.name):
                _refuse_another(one, known, there)
                continue  # a configured one, of which there are to be several
            added.append(
                settings_of(
                    one.name, known.name, known.model, plan.config, lab.root, say,
                    fetch=fetch, runs_here=runs_here,
                )
            )  # fmt: skip
        except (ModelUnavailable, UsageError) as error:
            why = f"{one.name} ({one.model}) cannot be served: {error.message}"
            way_out = f"llmlab deployment stop {one.name}"
            if one.name in wanted:
                raise ModelUnavailable(
                    f"{why}; and requests are routed to it",
                    fix=f"{error.fix or ''}; or {way_out} --force takes its routes away".lstrip(
                        "; "
                    ),
                ) from error
            warnings.append(f"{why}. {WITHOUT} Fix: {error.fix or way_out}")
    merged = replace(
        plan, deployments=(*own, *added), warnings=tuple(warnings), traffic=traffic,
        configured=tuple(names),
    )  # fmt: skip
    if missing := sorted(wanted - set(merged.names)):
        raise UsageError(
            f"requests are routed to {', '.join(missing)}, which is neither deployed nor in "
            "lab.toml any more",
            fix=f"put it back, or: {AS_CONFIGURED}",
        )
    return priced(merged, traffic)


def resolver(lab: Lab, plan: Plan) -> Callable[[str], Known]:
    """Finds models as the running configuration defines them; those that came since, as lab.toml
    and the registry do by now."""
    catalogue = Catalogue(plan.config, Registry(lab))

    def resolve(reference: str) -> Known:
        if known := catalogue.find(reference):
            return known
        current = read_config(lab.config_file, environ=os.environ).config
        return Catalogue(current, catalogue.registry).get(reference)

    return resolve


def _refuse_another(wanted: Deployed, known: Known, there: Settings) -> None:
    if (known.name, known.model) != (there.name, there.model):
        raise UsageError(
            f"lab.toml has a deployment {wanted.name} of another model ({there.name})",
            fix=f"llmlab deployment stop {wanted.name} --force, or rename that one in lab.toml",
        )


def told(plan: Plan) -> str:
    """One line on what differs from lab.toml; "" if nothing does."""
    traffic = plan.traffic
    found = []
    for name, configured in plan.routes.items():
        route, of = traffic.route(name), "" if name == SUMMARIZE else f"{name}: "
        if route.stable and route.stable != configured:
            found.append(f"{of}{route.stable} is stable in the place of {configured}")
    beside = [one.name for one in traffic.deployments if not plan.is_configured(one.name)]
    found += [f"deployed: {', '.join(beside)}"] if beside else []
    scaled = [f"{one.name} x{one.replicas}" for one in traffic.deployments if one.replicas > 1]
    found += [f"replicas: {', '.join(scaled)}"] if scaled else []
    resting = [one.name for one in traffic.deployments if not plan.replicas(one.name)]
    found += [f"resting: {', '.join(resting)}"] if resting else []
    for name, route in traffic.routes.items():
        of = "" if name == SUMMARIZE else f" of {name}"
        if route.split:
            shares = (f"{one.deployment} {one.percent:g} %" for one in route.split.shares)
            found.append(f"shares{of}: {', '.join(shares)}")
        found += [f"{len(route.matches)} matches{of}"] if route.matches else []
        found += [f"shadow{of}: {route.shadow.deployment}"] if route.shadow else []
    found += [f"flags: {', '.join(one.name for one in traffic.flags)}"] if traffic.flags else []
    return "; ".join(found)
