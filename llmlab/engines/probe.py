"""Asking a running lab how it is, over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import httpx2
from prometheus_client.parser import text_string_to_metric_families

PATIENCE = 2.0  # seconds; a busy API still answers its health check at once


@dataclass(frozen=True)
class Told:
    """What an API says of itself; the defaults when it does not answer."""

    ready: bool = False
    model: str = ""
    model_id: str = ""
    runtime: str = ""
    requests: int = 0
    waiting: int = 0


def ready(socket: Path) -> bool:
    """Whether the API on a unix socket has a model that answers."""
    try:
        with _over(socket) as client:
            return client.get("/health/ready").status_code == 200
    except httpx2.HTTPError:
        return False


def gateway_healthy(url: str) -> bool:
    """Whether the gateway answers, and the stable model behind it."""
    try:
        return httpx2.get(f"{url}/health", timeout=PATIENCE, trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False


def page_at(socket: Path) -> str:
    """The metrics at a unix socket.

    Raises:
        httpx2.HTTPError: nobody answers there, or not with metrics.
    """
    with _over(socket) as client:
        return client.get("/metrics").raise_for_status().text


def told_by(socket: Path) -> Told:
    """What the API on a unix socket says of itself."""
    try:
        with _over(socket) as client:
            return read_metrics(client.get("/metrics").text)
    except (httpx2.HTTPError, ValueError):
        return Told()


def _over(socket: Path) -> httpx2.Client:
    transport = httpx2.HTTPTransport(uds=str(socket))
    return httpx2.Client(transport=transport, base_url="http://api", timeout=PATIENCE)


def read_metrics(metrics: str) -> Told:
    """What an API's /metrics says of it."""
    labels: dict[str, str] = {}
    is_ready, requests, waiting = False, 0.0, 0.0
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name == "llmlab_model_info":
                labels = sample.labels
            elif sample.name == "llmlab_ready":
                is_ready = sample.value == 1
            elif sample.name == "llmlab_requests_total" and "/summarize" in sample.labels["route"]:
                requests += sample.value
            elif sample.name == "llmlab_queue_waiting":
                waiting = sample.value
    return Told(
        is_ready, labels.get("model", ""), labels.get("model_id", ""), labels.get("runtime", ""),
        int(requests), int(waiting),
    )  # fmt: skip
