"""How a lab in containers is, at this moment."""

from __future__ import annotations

from llmlab.config import Gateway
from llmlab.engines import probe
from llmlab.engines.base import DeploymentStatus, GatewayStatus, LabStatus
from llmlab.engines.compose.containers import Container, DockerEngine
from llmlab.engines.compose.incidents import FIX, Incidents
from llmlab.engines.compose.mounts import DEPLOYMENT, STABLE_SERVICE
from llmlab.engines.record import Record
from llmlab.lab import Lab
from llmlab.notebook import access

ENGINE = "compose"
ABSENT = "STOPPED"
# The API publishes no port; its image has Python, but no curl.
ASK = "import urllib.request as r; print(r.urlopen('http://127.0.0.1/metrics').read().decode())"


def report(lab: Lab, docker: DockerEngine, incidents: Incidents) -> LabStatus:
    """Ask the Docker engine, the gateway and every API. Works for a lab that was started by
    `docker compose up` as well."""
    containers = docker.containers(lab.root)
    record = Record.read(lab)
    ours = record if record and record.engine == ENGINE else None
    gateway = _gateway(next((one for one in containers if one.service == "nginx"), None), ours)
    deployments = sorted(
        (_deployment(one, docker) for one in containers if _is_api(one)),
        key=lambda one: -one.weight,
    )
    running = any(one.state == "running" for one in containers)
    warnings = [*(ours.warnings if ours else ()), *_out_of_memory(incidents)]
    return LabStatus(
        str(lab.root), ENGINE, running=running,
        healthy=gateway.healthy and bool(deployments) and all(one.healthy for one in deployments),
        gateway=gateway, deployments=tuple(deployments),
        warnings=tuple(warnings) if running else (),
        notebook=_notebook(next((one for one in containers if one.service == "jupyter"), None)),
    )  # fmt: skip


def _is_api(one: Container) -> bool:
    return one.service == STABLE_SERVICE or one.service.startswith(f"{STABLE_SERVICE}-")


def _notebook(one: Container | None) -> str:
    if one is None or one.state != "running" or one.published is None:
        return ""
    return access.address(one.published[1])


def _gateway(one: Container | None, record: Record | None) -> GatewayStatus:
    url = record.url if record else ""
    if one is None:
        return GatewayStatus(url, False, ABSENT)
    if one.published:
        host, port = one.published
        url = Gateway(host=host.strip("[]"), port=port).url
    return GatewayStatus(
        url, probe.gateway_healthy(url), one.state.upper(), nginx=f"image {one.image}",
        pid=one.pid, uptime=one.uptime,
    )  # fmt: skip


def _deployment(one: Container, docker: DockerEngine) -> DeploymentStatus:
    told = probe.Told()
    if one.state == "running":
        told = probe.read_metrics(docker.output_of(one, ["python", "-I", "-S", "-c", ASK]))
    return DeploymentStatus(
        name=one.labels.get(DEPLOYMENT) or told.model or one.service,
        model=told.model, model_id=told.model_id, runtime=told.runtime,
        healthy=told.ready and one.healthy, weight=100 if one.service == STABLE_SERVICE else 0,
        state=one.state.upper(), pid=one.pid, uptime=one.uptime, requests=told.requests,
        memory=docker.memory(one) if one.state == "running" else 0, memory_limit=one.memory_limit,
        waiting=told.waiting,
    )  # fmt: skip


def _out_of_memory(incidents: Incidents) -> list[str]:
    last = {one.service: one for one in incidents.of()}
    return [f"{one}\nFix: {FIX}" for one in last.values()]
