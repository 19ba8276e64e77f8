"""The engine ray: what the local one runs, with the API processes on nodes."""

from __future__ import annotations

from llmlab.engines.local.engine import LocalEngine
from llmlab.engines.ray.placing import OnNodes
from llmlab.lab import Lab


def ray_engine(lab: Lab) -> LocalEngine:
    return LocalEngine(lab, OnNodes)
