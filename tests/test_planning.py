"""From lab.toml to what runs: which models, and which routes lead to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmlab.config import Config
from llmlab.config.schema import TEXTRANK
from llmlab.engines.base import Plan
from llmlab.engines.planning import make_plan
from llmlab.errors import ModelUnavailable
from llmlab.lab import init_lab
from llmlab.traffic import Route, Share, Split, Traffic

SMOL = {"runtime": "llamacpp", "source": "path:no-such.gguf"}
EXTRACTIVE = TEXTRANK.model_dump()


def config(routes: dict[str, str], **values: Any) -> Config:
    models = {"textrank": EXTRACTIVE, "twin": EXTRACTIVE, "smol": SMOL}
    return Config.model_validate({"routes": routes, "models": models, **values})


def plan(tmp_path: Path, routes: dict[str, str], *only: str, **values: Any) -> Plan:
    init_lab(tmp_path)
    return make_plan(config(routes, **values), tmp_path, lambda _: None, only=only, fetch=False)


def test_each_route_leads_to_its_model(tmp_path: Path) -> None:
    made = plan(tmp_path, {"summarize": "textrank", "chat": "", "support": "twin"})
    assert made.routes == {"summarize": "textrank", "support": "twin"}
    assert made.names == ("textrank", "twin") == made.configured
    assert made.warnings == ()


def test_one_model_of_several_routes_is_one_deployment(tmp_path: Path) -> None:
    made = plan(tmp_path, {"summarize": "textrank", "chat": "", "support": "textrank"})
    assert made.routes == {"summarize": "textrank", "support": "textrank"}
    assert made.names == ("textrank",)
    assert made.weights("textrank") == {"summarize": 100, "support": 100}


def test_a_chat_model_that_cannot_be_had_leaves_its_route_away_and_says_so(tmp_path: Path) -> None:
    made = plan(tmp_path, {"summarize": "textrank", "chat": "smol", "support": "smol"})
    assert made.routes == {"summarize": "textrank"}
    assert made.names == ("textrank",)
    (warning,) = made.warnings
    assert warning.startswith("smol cannot serve, so there is no route chat and support.\n")
    assert "Fix: " in warning


def test_the_fallback_stands_in_for_summarize_alone(tmp_path: Path) -> None:
    routes = {"summarize": "smol", "chat": "smol"}
    made = plan(tmp_path, routes, fallback="textrank")
    assert made.routes == {"summarize": "textrank"}
    (warning,) = made.warnings
    assert warning.startswith(
        "smol cannot serve, so textrank answers in its place, and there is no route chat.\n"
    )
    with pytest.raises(ModelUnavailable, match="smol"):
        plan(tmp_path, routes, fallback="")


def test_a_model_that_is_to_be_deployed_has_to_be_there(tmp_path: Path) -> None:
    routes = {"summarize": "textrank", "chat": "smol"}
    with pytest.raises(ModelUnavailable, match="smol"):
        plan(tmp_path, routes, deploy=["smol"])
    with pytest.raises(ModelUnavailable, match="smol"):
        plan(tmp_path, routes, "textrank", "smol")


def test_without_a_chat_that_is_asked_for_there_is_none(tmp_path: Path) -> None:
    made = plan(tmp_path, {"summarize": "textrank"})  # these models have no smollm2
    assert (made.routes, made.warnings) == ({"summarize": "textrank"}, ())


def test_models_that_are_named_take_the_routes_that_lead_to_them(tmp_path: Path) -> None:
    routes = {"summarize": "textrank", "chat": "", "support": "twin"}
    assert plan(tmp_path, routes, "twin").routes == {"summarize": "twin", "support": "twin"}
    both = plan(tmp_path, routes, "twin", "textrank")
    assert both.routes == {"summarize": "textrank", "support": "twin"}
    assert plan(tmp_path, routes, "textrank").routes == {"summarize": "textrank"}


def test_a_promotion_changes_what_leads_a_route_and_no_other_one(tmp_path: Path) -> None:
    made = plan(tmp_path, {"summarize": "textrank", "chat": "", "support": "textrank"},
                deploy=["twin"])  # fmt: skip
    traffic = Traffic().with_route("support", Route(stable="twin"))
    traffic = traffic.with_route("summarize", Route(split=Split((Share("twin", 12.5),))))
    moved = Plan(made.config, made.stable, made.deployments, traffic=traffic, further=made.further)
    assert (moved.leading(), moved.leading("support")) == ("textrank", "twin")
    assert moved.weights("twin") == {"summarize": 12.5, "support": 100}
    assert moved.weights("textrank") == {"summarize": 87.5}
    assert moved.weight("textrank") == 87.5
