"""How a lab of supervised processes is, at this moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from llmlab.engines import probe
from llmlab.engines.base import DeploymentStatus, GatewayStatus, LabStatus, Plan
from llmlab.engines.local.programs import API_PREFIX, GATEWAY, SPARE, suffixes
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
    plan = record.plan()
    deployments = tuple(_deployment(lab, name, plan, processes) for name in plan.names)
    process = processes.get(GATEWAY, STOPPED)
    gateway = GatewayStatus(
        url=record.url, healthy=probe.gateway_healthy(record.url), state=process.state,
        nginx=record.nginx, pid=process.pid, uptime=process.uptime,
    )  # fmt: skip
    return LabStatus(
        str(lab.root), ENGINE, running=True,
        healthy=gateway.healthy and all(one.healthy for one in deployments),
        gateway=gateway, deployments=deployments, warnings=record.notes,
    )  # fmt: skip


def _deployment(
    lab: Lab, name: str, plan: Plan, processes: Mapping[str, ProcessState]
) -> DeploymentStatus:
    """One deployment: healthy if all its processes answer, or a spare in the place of one."""
    names = [name + suffix for suffix in suffixes(plan.replicas(name))]
    states = [processes.get(API_PREFIX + one, STOPPED) for one in names]
    told = [probe.told_by(lab.api_socket(one)) for one in names]
    ready = sum(one.ready for one in told)
    spare, says = processes.get(API_PREFIX + name + SPARE), probe.Told()
    if spare:
        says = probe.told_by(lab.api_socket(name + SPARE))
    answers = next((one for one in told if one.ready), says)
    first = states[0]
    return DeploymentStatus(
        name=name, model=answers.model, model_id=answers.model_id, runtime=answers.runtime,
        healthy=ready == len(names) or says.ready, weight=plan.weight(name), state=first.state,
        pid=first.pid, uptime=first.uptime,
        requests=sum(one.requests for one in (*told, says)),
        spare=_spare(spare, says) if spare else "",
        memory=sum(memory_of(one.pid) for one in (*states, spare) if one),
        waiting=sum(one.waiting for one in (*told, says)),
        replicas=len(names), ready=ready,
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
