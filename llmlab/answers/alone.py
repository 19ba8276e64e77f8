"""The settings of an API process that serves one model, and no lab."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from llmlab.config import Config
from llmlab.config.schema import Routes
from llmlab.engines.planning import make_plan
from llmlab.service.settings import Settings


def settings_alone(
    config: Config, name: str, lab_root: Path, say: Callable[[str], None]
) -> Settings:
    """As a lab would serve the model, but that no answer is kept: each is to be measured.

    Raises:
        ModelUnavailable: it cannot be had, and nothing stands in for it.
    """
    routes = Routes(summarize=name, chat="")
    alone = config.model_copy(update={"fallback": "", "routes": routes, "deploy": ()})
    plan = make_plan(alone, lab_root, say, only=[name])
    service = config.service.model_copy(update={"cache": 0})
    return plan.deployments[0].model_copy(update={"service": service})
