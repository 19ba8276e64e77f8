"""What a registered model costs. lab.toml has prices, and the registry none: without one a model
that is tuned, or only deployed, would leave every budget of money."""

from __future__ import annotations

from dataclasses import replace

from llmlab.config.budgets import Price
from llmlab.engines.base import Plan
from llmlab.registry.catalogue import called
from llmlab.service.settings import Settings
from llmlab.traffic import Traffic

FREE = Price()
UNPRICED = "no price is known"


def priced(plan: Plan, traffic: Traffic) -> Plan:
    """A plan whose registered models cost what lab.toml says of one of the same name, else of the
    configured model of the route that they are on, else of any route's of the same kind; with a
    warning of those that it says nothing of, where a budget limits money."""
    deployments = tuple(_priced(one, plan, traffic) for one in plan.deployments)
    free = sorted(
        one.deployment for one in deployments if _is_registered(one) and one.model.price == FREE
    )
    warnings = tuple(one for one in plan.warnings if UNPRICED not in one)  # those are of before
    if free and any(one.money_per_month for one in plan.config.budgets):
        warnings += (
            f"{', '.join(free)}: {UNPRICED}, so money_per_month of [[budgets]] does not "
            "limit what asks for it.\nFix: price = { input = ..., output = ... } in "
            f"[models.{plan.stable}] of configs/lab.toml, then llmlab up",
        )
    return replace(plan, deployments=deployments, warnings=warnings)


def _priced(settings: Settings, plan: Plan, traffic: Traffic) -> Settings:
    if not _is_registered(settings) or settings.model.price != FREE:
        return settings
    models = plan.config.models
    on = [route for route in plan.routes if settings.deployment in traffic.route(route).targets()]
    alike = [name for name in plan.routes.values() if _chats(plan, name) == settings.model.chats]
    names = [called(settings.name), *(plan.routes[route] for route in on), *alike]
    found = (models[one].price for one in names if one in models)
    price = next((one for one in found if one != FREE), FREE)
    return settings.model_copy(update={"model": settings.model.model_copy(update={"price": price})})


def _is_registered(settings: Settings) -> bool:
    return bool(settings.model.content_id)


def _chats(plan: Plan, name: str) -> bool:
    return name in plan.config.models and plan.config.models[name].chats
