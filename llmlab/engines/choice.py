"""Which engine runs a lab, and why."""

from __future__ import annotations

from llmlab.config import Config
from llmlab.engines.base import Engine
from llmlab.engines.local.engine import LocalEngine
from llmlab.errors import EnvironmentFailure, UsageError
from llmlab.lab import Lab

Engines = dict[str, Engine]


def running_engine(lab: Lab) -> Engine | None:
    """The engine under which something of the lab runs; None if nothing does."""
    local = LocalEngine(lab)
    if local.running():  # or so it seems, where what says as what is damaged
        return _ray(lab) if _has_placer(local) else local
    if (lab.state / "ray").is_dir():
        ray = _ray(lab)
        if ray.running():
            return ray
    # What containers mount is laid out here; without it there are none, and no need to ask.
    if (lab.state / "compose").is_dir():
        compose = _compose(lab)
        if compose.running():
            return compose
    return None


def engine_named(name: str, lab: Lab) -> Engine:
    """``local``, ``compose`` or ``ray``."""
    if name == "ray":
        return _ray(lab)
    return LocalEngine(lab) if name == "local" else _compose(lab)


def choose_engine(config: Config, lab: Lab) -> tuple[Engine, str]:
    """The engine to bring a lab up with, and half a sentence that says why.

    Raises:
        UsageError: the lab runs already, under another engine than the configured one.
    """
    configured = config.engine
    try:
        running = running_engine(lab)
    except EnvironmentFailure:
        if configured not in ("local", "ray"):
            raise
        running = None  # it ran in containers, and Docker is gone
    if running and configured not in ("auto", running.name):
        raise UsageError(
            f"this lab runs already, under the engine {running.name}",
            fix=f"llmlab down, then llmlab up --engine {configured}",
        )
    if configured != "auto":
        return engine_named(configured, lab), "as configured"
    if running:
        return running, "where it runs already"
    if missing := _missing_for_containers(lab, config):
        return LocalEngine(lab), f"for {missing}"
    return _compose(lab), "for this lab's images are built"


def _missing_for_containers(lab: Lab, config: Config) -> str:
    """Why ``auto`` does not mean containers; "" if it does."""
    from llmlab.engines.compose.images import BuiltImages, images_to_build

    if not BuiltImages.recorded(lab):
        return "no container images of this lab are built"
    from llmlab.engines.compose.containers import DockerEngine

    try:
        there = DockerEngine().has_images(images_to_build(lab, config))
    except EnvironmentFailure:
        return "no Docker engine answers"
    return "" if there else "this lab's images are gone"


def _compose(lab: Lab) -> Engine:
    from llmlab.engines.compose.engine import ComposeEngine

    return ComposeEngine(lab)


def _has_placer(local: LocalEngine) -> bool:
    if not (local.lab.state / "ray").is_dir():
        return False
    from llmlab.engines.ray.placing import PLACER

    return local.supervisor.pid(PLACER) is not None


def _ray(lab: Lab) -> Engine:
    from llmlab.engines.ray.engine import ray_engine

    return ray_engine(lab)
