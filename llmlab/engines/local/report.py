"""How a lab of supervised processes is, at this moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from llmlab.engines import probe
from llmlab.engines.base import DeploymentStatus, GatewayStatus, LabStatus
from llmlab.engines.local.programs import API_PREFIX, GATEWAY, SPARE
from llmlab.engines.local.supervisor import STOPPED, ProcessState, Supervisor
from llmlab.engines.record import Record
from llmlab.lab import Lab
from llmlab.processes import lab_processes, memory_of

ENGINE = "local"


def report(lab: Lab, supervisor: Supervisor) -> LabStatus:
    """Ask the supervisor, the gateway and every API."""
    record = Record.read(lab)
    if record and record.engine != ENGINE:
        record = None
    processes = {one.name: one for one in supervisor.processes()}
    if record is None or not processes:
        url = record.url if record else ""
        return LabStatus(
            str(lab.root), ENGINE, running=False, healthy=False,
            gateway=GatewayStatus(url, False, STOPPED.state),
            warnings=() if processes else _orphans(lab),
        )  # fmt: skip
    deployments = tuple(_deployment(lab, name, record, processes) for name in record.deployments)
    process = processes.get(GATEWAY, STOPPED)
    gateway = GatewayStatus(
        url=record.url, healthy=probe.gateway_healthy(record.url), state=process.state,
        nginx=record.nginx, pid=process.pid, uptime=process.uptime,
    )  # fmt: skip
    return LabStatus(
        str(lab.root), ENGINE, running=True,
        healthy=gateway.healthy and all(one.healthy for one in deployments),
        gateway=gateway, deployments=deployments, warnings=tuple(record.warnings),
    )  # fmt: skip


def _deployment(
    lab: Lab, name: str, record: Record, processes: Mapping[str, ProcessState]
) -> DeploymentStatus:
    """One deployment: healthy if either of its processes answers."""
    process = processes.get(API_PREFIX + name, STOPPED)
    told = probe.told_by(lab.api_socket(name))
    spare, says = processes.get(API_PREFIX + name + SPARE), probe.Told()
    if spare:
        says = probe.told_by(lab.api_socket(name + SPARE))
    answers = told if told.ready else says
    return DeploymentStatus(
        name=name, model=answers.model, model_id=answers.model_id, runtime=answers.runtime,
        healthy=answers.ready, weight=100 if name == record.stable else 0, state=process.state,
        pid=process.pid, uptime=process.uptime, requests=told.requests + says.requests,
        spare=_spare(spare, says) if spare else "",
        memory=sum(memory_of(one.pid) for one in (process, spare) if one),
        waiting=told.waiting + says.waiting,
    )  # fmt: skip


def _spare(process: ProcessState, told: probe.Told) -> Literal["ready", "loading", "down"]:
    if told.ready:
        return "ready"
    return "loading" if process.state in ("STARTING", "RUNNING") else "down"


def _orphans(lab: Lab) -> tuple[str, ...]:
    left = lab_processes(lab.state)
    if not left:
        return ()
    return (f"{len(left)} processes run without their supervisor; llmlab down ends them",)
