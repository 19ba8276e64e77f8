"""Prometheus and Grafana beside a lab that is up, with or without them."""

from __future__ import annotations

from llmlab.engines.base import Plan, Say
from llmlab.engines.compose import observability
from llmlab.engines.compose.project import UP, Project, last_of
from llmlab.errors import EnvironmentFailure
from llmlab.shell import run


def observe(project: Project, plan: Plan, say: Say) -> None:
    """Have both of them running.

    Raises:
        EnvironmentFailure: they do not start.
    """
    say("starting Prometheus and Grafana")
    compose = project.compose(plan)
    command = compose.command(*observability.PROFILE, *UP, "--no-deps", *observability.SERVICES)
    result = run(command, timeout=observability.DEADLINE, cwd=project.lab.root)
    if result.code != 0:
        raise EnvironmentFailure(
            "the lab is up, but Prometheus and Grafana did not start "
            f"(docker compose: exit code {result.code})",
            fix="set PROMETHEUS_IMAGE and GRAFANA_IMAGE to images that this machine can have, "
            "or observability.enabled = false",
            log=last_of(result),
        )
