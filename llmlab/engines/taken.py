"""What of a machine each replica of a deployment takes, where it is placed by that."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from llmlab.config import Model
from llmlab.engines.base import Plan
from llmlab.registry.catalogue import called


@dataclass(frozen=True)
class Taken:
    """``memory`` as lab.toml has it. The defaults are those of a model that says nothing."""

    memory: str
    cores: float = 1.0
    gpus: float = 0.0

    @property
    def bytes(self) -> int:
        """The memory."""
        return int(self.memory[:-1]) << {"m": 20, "g": 30}[self.memory[-1]]


def taken_by(plan: Plan, deployment: str) -> Taken:
    """What its model says; else, for the registry says nothing of it, what the model of lab.toml
    does that it is a version of.

    Not what the one does in the place of which it has become the stable one, as with ``bounds_of``:
    a promotion starts no process anew.
    """
    settings = plan.settings(deployment)
    parent = plan.config.models.get(called(settings.name), settings.model)
    least = {"memory": settings.service.memory}
    return Taken(**least | _said_of(parent) | _said_of(settings.model))


def _said_of(model: Model) -> dict[str, Any]:
    keys = {one.name for one in fields(Taken)}
    return model.model_dump(include=keys, exclude_defaults=True)
