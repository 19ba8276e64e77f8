"""Prices of models that are registered: lab.toml's, and no business of the API's process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmlab.config import Config, Model
from llmlab.config.budgets import Price
from llmlab.delivery.pricing import priced
from llmlab.engines.base import Plan
from llmlab.engines.compose.mounts import _lay_out_api
from llmlab.engines.local.programs import settings_file
from llmlab.lab import Lab
from llmlab.service.settings import Settings
from llmlab.traffic import Route, Share, Split, Traffic

PRICE = {"input": 0.5, "output": 2.0}
OWN = {"runtime": "ctranslate2", "source": "path:small"}
MONEY = {"money_per_month": 5.0}


def settings(deployment: str, name: str, *, registered: bool = True) -> Settings:
    content = {"content_id": f"sha256:{'0' * 64}"} if registered else {}
    model = Model.model_validate({**OWN, **content})
    return Settings(deployment=deployment, name=name, model=model)


def plan(*others: Settings, models: dict[str, Any], budget: dict[str, Any] | None = None) -> Plan:
    said = {"routes": {"summarize": "small"}, "models": {"small": OWN, **models},
            "budgets": [budget] if budget else []}  # fmt: skip
    config = Config.model_validate(said)
    first = replace_price(settings("small", "small", registered=False), config)
    return Plan(config, "small", (first, *others), (), configured=("small",))


def replace_price(one: Settings, config: Config) -> Settings:
    return one.model_copy(update={"model": config.models[one.name]})


def prices(made: Plan) -> dict[str, float]:
    return {one.deployment: one.model.price.output for one in made.deployments}


def test_a_version_costs_what_another_one_of_its_name_does() -> None:
    made = plan(settings("small-2", "small-2"), models={"small": {**OWN, "price": PRICE}})
    assert prices(priced(made, Traffic())) == {"small": 2.0, "small-2": 2.0}


def test_a_model_of_another_name_costs_what_the_configured_one_of_its_route_does() -> None:
    dear = {**OWN, "price": {"input": 5.0, "output": 20.0}}
    made = plan(settings("tuned-1", "tuned-1"),
                models={"small": {**OWN, "price": PRICE}, "dear": dear})  # fmt: skip
    made = replace(made, further={"long": "dear"})
    split = Split(shares=(Share(deployment="tuned-1", percent=10),))
    for route, price in (("long", 20.0), ("summarize", 2.0)):
        canary = Traffic(routes={route: Route(split=split)})
        assert prices(priced(made, canary))["tuned-1"] == price
    assert prices(priced(made, Traffic()))["tuned-1"] == 2.0  # it is on none, and summarizes


def test_a_registered_model_that_costs_nothing_is_told_where_a_budget_limits_money() -> None:
    made = priced(plan(settings("tuned-1", "tuned-1"), models={}, budget=MONEY), Traffic())
    (warning,) = made.warnings
    assert warning.startswith("tuned-1: no price is known")
    assert "\nFix: price = { input = ..., output = ... } in [models.small]" in warning
    assert (
        priced(made, Traffic()).warnings == made.warnings
    )  # and once, however often it is planned


def test_without_a_budget_of_money_a_model_without_a_price_is_nobodys_concern() -> None:
    tokens = {"tokens_per_day": 5}
    for budget in (None, tokens):
        made = plan(settings("tuned-1", "tuned-1"), models={}, budget=budget)
        assert priced(made, Traffic()).warnings == ()


def test_a_model_of_lab_toml_without_a_price_is_free() -> None:
    made = priced(plan(models={}, budget=MONEY), Traffic())
    assert (prices(made), made.warnings) == ({"small": 0.0}, ())


@pytest.mark.parametrize("price", [PRICE, {"input": 1.0}])
def test_another_price_is_no_other_process(tmp_path: Path, price: dict[str, float]) -> None:
    one = settings("small", "small")
    dearer = one.model_copy(
        update={"model": one.model.model_copy(update={"price": Price(**price)})}
    )
    lab = Lab(tmp_path)
    assert settings_file(lab, one) == settings_file(lab, dearer)
    assert _lay_out_api(tmp_path, "llmapi", one) == _lay_out_api(tmp_path, "llmapi", dearer)
    longer = one.model_copy(update={"model": one.model.model_copy(update={"max_length": 7})})
    assert settings_file(lab, one) != settings_file(lab, longer)
