"""Have Prometheus and Grafana running, in their containers."""

from __future__ import annotations

from llmlab.engines.base import Say
from llmlab.engines.compose import observability
from llmlab.engines.compose.command import Compose
from llmlab.engines.compose.project import UP, last_of
from llmlab.errors import EnvironmentFailure
from llmlab.shell import run


def start_observing(compose: Compose, say: Say) -> None:
    """
    Raises:
        EnvironmentFailure: they did not start. The lab is up, with or without them.
    """
    say("starting Prometheus and Grafana")
    command = compose.command(*observability.PROFILE, *UP, "--no-deps", *observability.SERVICES)
    result = run(command, timeout=observability.DEADLINE, cwd=compose.lab.root)
    if result.code != 0:
        raise EnvironmentFailure(
            "the lab is up, but Prometheus and Grafana did not start "
            f"(docker compose: exit code {result.code})",
            fix="set PROMETHEUS_IMAGE and GRAFANA_IMAGE to images that this machine can have, "
            "or observability.enabled = false",
            log=last_of(result),
        )
