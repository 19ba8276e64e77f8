"""What a replica takes of a node: who says it, and how it is held to it. No Ray runs here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmlab.config import Config, Model
from llmlab.engines.base import Plan
from llmlab.engines.ray.wanted import wanted_by, write_what_they_read
from llmlab.engines.taken import Taken, taken_by
from llmlab.lab import Lab
from llmlab.registry.record import Facts
from llmlab.service.settings import Settings

OWN = {"runtime": "extractive", "source": "embedded:textrank"}
CONFIG = Config.model_validate({
    "routes": {"summarize": "first", "chat": ""},
    "models": {"first": OWN, "big": {**OWN, "cores": 8, "gpus": 1}},
})  # fmt: skip


def registered(name: str) -> Settings:
    model = Facts("tuned").model("path:models/aa", "sha256:" + "a" * 64)
    return Settings(deployment="canary", name=name, model=model)


def plan(*others: Settings, config: Config = CONFIG) -> Plan:
    first = Settings(deployment="first", name="first", model=config.models["first"])
    return Plan(config, "first", (first, *others))


@pytest.mark.parametrize(
    ("settings", "taken"),
    [
        (Settings(deployment="canary", name="first", model=CONFIG.models["first"]), Taken(1, 0)),
        (Settings(deployment="canary", name="big", model=CONFIG.models["big"]), Taken(8, 1)),
        (registered("big-2"), Taken(8, 1)),  # the registry says nothing of it
        (registered("other-2"), Taken(1, 0)),
        (Settings(deployment="canary", name="big-2", model=Model(**OWN, cores=0.5)),
         Taken(0.5, 1)),
    ],
)  # fmt: skip
def test_a_version_takes_what_the_model_does_that_it_is_a_version_of(
    settings: Settings, taken: Taken, tmp_path: Path
) -> None:
    made = plan(settings)
    assert taken_by(made, "canary") == taken
    (wanted,) = [one for one in wanted_by(Lab(tmp_path), made) if one.process == "canary"]
    assert (wanted.cores, wanted.gpus) == (taken.cores, taken.gpus)


def test_a_replica_is_another_one_at_other_numbers_whoever_says_them(tmp_path: Path) -> None:
    lab = Lab(tmp_path)

    def wanted(**said: Any) -> str:
        big = CONFIG.models["big"].model_copy(update=said)
        config = CONFIG.model_copy(update={"models": {**CONFIG.models, "big": big}})
        made = plan(registered("big-2"), config=config)
        lab.make_state()
        write_what_they_read(lab, made)
        name = wanted_by(lab, made)[1].settings
        read = Settings.read(lab.state / "deployments" / name)
        assert read.model.cores == big.cores
        return name

    assert wanted() == wanted()
    assert wanted() != wanted(cores=2.0)
