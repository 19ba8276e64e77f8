"""How a lab in containers is, at this moment."""

from __future__ import annotations

import os
from collections.abc import Sequence

from llmlab.config import Gateway
from llmlab.engines import probe
from llmlab.engines.base import Plan
from llmlab.engines.certificates import certificate_of, warnings_of
from llmlab.engines.compose.asking import METRICS, python
from llmlab.engines.compose.containers import Container, DockerEngine
from llmlab.engines.compose.incidents import FIX, Incidents
from llmlab.engines.compose.logs import log_name
from llmlab.engines.compose.mounts import DEPLOYMENT, STABLE_SERVICE
from llmlab.engines.record import Record
from llmlab.engines.scale_bounds import resting, told_of
from llmlab.engines.status import DeploymentStatus, GatewayStatus, LabStatus
from llmlab.engines.waf import NAME as WAF
from llmlab.engines.waf import WafStatus
from llmlab.errors import LlmlabError
from llmlab.lab import Lab
from llmlab.notebook import access
from llmlab.registry.catalogue import load_lab

ENGINE = "compose"
ABSENT = "STOPPED"


def report(lab: Lab, docker: DockerEngine, incidents: Incidents) -> LabStatus:
    """Ask the Docker engine, the gateway and every API. Works for a lab that was started by
    `docker compose up` as well."""
    containers = docker.containers(lab.root)
    record = Record.read(lab)
    ours = record if record and record.engine == ENGINE else None
    front = next((one for one in containers if one.service == "nginx"), None)
    said = _said(lab, front, ours)
    gateway = _gateway(lab, front, said, ours)
    deployments = _deployments(containers, docker, ours.plan() if ours else None)
    running = any(one.state == "running" for one in containers)
    warnings = [*(ours.notes if ours else ()), *_out_of_memory(incidents)]
    warnings += warnings_of(lab, said)
    wall = next((one for one in containers if one.service == WAF), None)
    waf = _waf(wall, said) if said.waf.enabled else None
    warnings += waf.warnings if waf else ()
    well = gateway.healthy and (waf is None or waf.answers)
    return LabStatus(
        str(lab.root), ENGINE, running=running,
        healthy=well and bool(deployments) and all(one.healthy for one in deployments),
        gateway=gateway, deployments=tuple(deployments), waf=waf,
        warnings=tuple(warnings) if running else (),
        notebook=_notebook(next((one for one in containers if one.service == "jupyter"), None)),
    )  # fmt: skip


def _waf(one: Container | None, said: Gateway) -> WafStatus:
    state = one.state.upper() if one else ABSENT
    return WafStatus.of(said.waf, state, answers=bool(one and one.healthy))


def is_api(one: Container) -> bool:
    """Whether it runs a deployment."""
    return one.service.partition(".")[0] == STABLE_SERVICE or one.service.startswith(
        f"{STABLE_SERVICE}-"
    )


def runs(one: Container, process: str) -> bool:
    """Whether it is this process of a deployment. What a person has started by themselves is
    not named after one, and there is only one of it."""
    if DEPLOYMENT not in one.labels:
        return one.service == STABLE_SERVICE
    return log_name(one) == f"api-{process}"


def _notebook(one: Container | None) -> str:
    if one is None or one.state != "running" or one.published is None:
        return ""
    return access.address(one.published[1])


def _said(lab: Lab, one: Container | None, record: Record | None) -> Gateway:
    """What the gateway was brought up as, at the address where it is: a person may have published
    it elsewhere."""
    said = record.plan().config.gateway if record else _laid_out_for(lab)
    if one is None or one.published is None:
        return said
    host, port = one.published
    return said.model_copy(update={"host": host.strip("[]"), "port": port})


def _gateway(
    lab: Lab, one: Container | None, said: Gateway, record: Record | None
) -> GatewayStatus:
    if one is None:
        return GatewayStatus(record.url if record else "", False, ABSENT)
    return GatewayStatus(
        said.url, probe.gateway_healthy(said, lab), one.state.upper(), nginx=f"image {one.image}",
        pid=one.pid, uptime=one.uptime, certificate=certificate_of(lab, said),
    )  # fmt: skip


def _laid_out_for(lab: Lab) -> Gateway:
    """Of a lab that a person started: by `docker compose up` it runs as it was laid out."""
    try:
        return load_lab(lab, environ=os.environ).config.gateway
    except LlmlabError:
        return Gateway()


def told_by(one: Container, docker: DockerEngine) -> probe.Told:
    """What the API in a container says of itself."""
    if one.state != "running":
        return probe.Told()
    return probe.read_metrics(docker.output_of(one, python(METRICS)))


def _deployments(
    containers: Sequence[Container], docker: DockerEngine, plan: Plan | None
) -> list[DeploymentStatus]:
    """The heaviest first. Containers with the label of one deployment are its replicas."""
    apis = [(one, told_by(one, docker)) for one in containers if is_api(one)]
    by_name: dict[str, list[tuple[Container, probe.Told]]] = {}
    for one, told in apis:
        name = one.labels.get(DEPLOYMENT) or told.model or one.service
        by_name.setdefault(name, []).append((one, told))
    found = [_deployment(name, own, docker, plan) for name, own in by_name.items()]
    if plan:  # the container of one that rests may still be ending what it has in hand
        rest = [one for one in plan.names if not plan.replicas(one)]
        found += [resting(plan, one) for one in rest if one not in by_name]
    return sorted(found, key=lambda one: -one.weight)


def _deployment(
    name: str, replicas: Sequence[tuple[Container, probe.Told]], docker: DockerEngine,
    plan: Plan | None,
) -> DeploymentStatus:  # fmt: skip
    first = replicas[0][0]
    ready = sum(told.ready and one.healthy for one, told in replicas)
    answers = next((told for _, told in replicas if told.ready), replicas[0][1])
    configured = 100 if first.service == STABLE_SERVICE else 0
    return DeploymentStatus(
        name=name, model=answers.model, model_id=answers.model_id, runtime=answers.runtime,
        healthy=ready == len(replicas), weight=plan.weight(name) if plan else configured,
        weights=plan.weights(name) if plan else {},
        state=first.state.upper(), pid=first.pid, uptime=first.uptime,
        requests=sum(told.requests for _, told in replicas),
        memory=sum(docker.memory(one) for one, _ in replicas if one.state == "running"),
        memory_limit=sum(one.memory_limit for one, _ in replicas),
        waiting=sum(told.waiting for _, told in replicas),
        replicas=len(replicas), ready=ready, bounds=told_of(plan, name) if plan else "",
    )  # fmt: skip


def _out_of_memory(incidents: Incidents) -> list[str]:
    last = {one.service: one for one in incidents.of()}
    return [f"{one}\nFix: {FIX}" for one in last.values()]
