"""Prometheus and Grafana, the profile `observability` of docker-compose.yml."""

from __future__ import annotations

from collections.abc import Mapping

from llmlab.config.schema import Observability
from llmlab.engines.compose.waf import PROFILE as WAF_PROFILE

# Before a subcommand. Without it Compose leaves the profile's containers alone, come what may.
STOP_SOON = "12"  # seconds until `down` kills what does not end
PROFILE = ("--profile", "observability")
SERVICES = ("prometheus", "grafana")
DEADLINE = 600.0  # seconds; their images may have to be pulled


def variables(ports: Observability) -> Mapping[str, str]:
    """What docker-compose.yml asks of the environment for them."""
    return {
        "PROMETHEUS_PORT": str(ports.prometheus_port),
        "GRAFANA_PORT": str(ports.grafana_port),
    }


def down_arguments(volumes: bool) -> tuple[str, ...]:
    """What ``docker compose`` is told to stop everything, these two and the WAF as well."""
    soon = ("--timeout", STOP_SOON, "--remove-orphans")
    return (*PROFILE, *WAF_PROFILE, "down", *soon, *(["--volumes"] if volumes else []))
