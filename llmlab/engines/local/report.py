"""How a lab of supervised processes is, at this moment."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from typing import Literal

from llmlab.engines import probe
from llmlab.engines.base import Plan
from llmlab.engines.certificates import certificate_of, warnings_of
from llmlab.engines.local.placing import Placing
from llmlab.engines.local.programs import API_PREFIX, GATEWAY, SPARE, suffixes
from llmlab.engines.local.supervisor import STOPPED, ProcessState, Supervisor
from llmlab.engines.record import Record
from llmlab.engines.scale_bounds import resting, told_of
from llmlab.engines.status import DeploymentStatus, GatewayStatus, LabStatus
from llmlab.engines.waf import ANSWERS, WafStatus
from llmlab.engines.waf import NAME as WAF
from llmlab.lab import Lab
from llmlab.network import listening
from llmlab.processes import is_supervisor, lab_processes, memory_of

ROOM = 1 << 20  # bytes that the logs need at least


def report(lab: Lab, supervisor: Supervisor, placing: Placing) -> LabStatus:
    """Ask the supervisor, the gateway and every API."""
    record = Record.read(lab)
    if record and record.engine != placing.name:
        record = None
    watched = {one.name: one for one in supervisor.processes()}
    processes = watched or {one.name: one for one in supervisor.left()}
    if record is None or not processes:
        url = record.url if record else ""
        return LabStatus(
            str(lab.root), placing.name, running=False, healthy=False,
            gateway=GatewayStatus(url, False, STOPPED.state),
            warnings=(*placing.left(), *_unknown(lab)),
        )  # fmt: skip
    plan = record.plan()
    processes |= {one.name: one for one in placing.processes()}
    deployments = tuple(_deployment(lab, name, plan, processes) for name in plan.names)
    process = processes.get(GATEWAY, STOPPED)
    url, moved = _really(record, process.pid)
    gateway = GatewayStatus(
        url=url, healthy=probe.healthy_behind(lab.front_socket), state=process.state,
        nginx=record.nginx, pid=process.pid, uptime=process.uptime,
        certificate=certificate_of(lab, plan.config.gateway),
    )  # fmt: skip
    waf = _waf(lab, plan, processes)
    well = gateway.healthy and (waf is None or waf.answers)
    return LabStatus(
        str(lab.root), placing.name, running=True,
        healthy=bool(watched) and well and all(one.healthy for one in deployments),
        gateway=gateway, deployments=deployments, waf=waf, nodes=placing.machines(),
        warnings=(*_unwatched(lab, watched), *moved, *_unrecorded(lab), *record.notes,
                  *placing.warnings(),
                  *warnings_of(lab, plan.config.gateway), *(waf.warnings if waf else ())),
    )  # fmt: skip


def _waf(lab: Lab, plan: Plan, processes: Mapping[str, ProcessState]) -> WafStatus | None:
    if not plan.config.gateway.waf.enabled:
        return None
    return WafStatus.of(
        plan.config.gateway.waf, processes.get(WAF, STOPPED).state,
        answers=probe.status_at(lab.waf_socket, "/") == ANSWERS,
    )  # fmt: skip


def _unwatched(lab: Lab, watched: Mapping[str, ProcessState]) -> tuple[str, ...]:
    if watched:
        return ()
    there = [one for one in lab_processes(lab.state) if is_supervisor(one)]
    why = "its supervisor does not answer" if there else "its supervisor is gone"
    return (f"requests are served, but nobody watches the lab's processes: {why}\nFix: llmlab up",)


def _really(record: Record, master: int | None) -> tuple[str, tuple[str, ...]]:
    """Where the gateway listens, and a warning where that is not what was asked for."""
    gateway = record.plan().config.gateway
    there = listening(master)
    wanted = str(ipaddress.ip_address(gateway.host)), gateway.port
    if not there or wanted in there:
        return record.url, ()
    said = ", ".join(f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}" for ip, port in there)
    host, port = there[0]
    return (
        gateway.model_copy(update={"host": host, "port": port}).url,
        (f"the gateway listens on {said}, not on {record.url}\nFix: llmlab up",),
    )


def _deployment(
    lab: Lab, name: str, plan: Plan, processes: Mapping[str, ProcessState]
) -> DeploymentStatus:
    """One deployment: healthy if all its processes answer, or a spare in the place of one."""
    if not plan.replicas(name):
        return resting(plan, name)
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
        healthy=ready == len(names) or says.ready, weight=plan.weight(name),
        weights=plan.weights(name), state=first.state,
        pid=first.pid, uptime=first.uptime,
        requests=sum(one.requests for one in (*told, says)),
        spare=_spare(spare, says) if spare else "",
        memory=sum(_memory(one) for one in (*states, spare) if one),
        waiting=sum(one.waiting for one in (*told, says)),
        replicas=len(names), ready=ready, bounds=told_of(plan, name),
    )  # fmt: skip


def _memory(process: ProcessState) -> int:
    return memory_of(process.pid) if process.memory is None else process.memory


def _spare(process: ProcessState, told: probe.Told) -> Literal["ready", "loading", "down"]:
    if told.ready:
        return "ready"
    return "loading" if process.state in ("STARTING", "RUNNING") else "down"


def _unknown(lab: Lab) -> tuple[str, ...]:
    """What runs although nobody knows as what."""
    left = lab_processes(lab.state)
    if not left:
        return ()
    if Record.is_damaged(lab):
        return (
            f"{len(left)} processes of this lab run, and what says as what (running.json) is "
            "damaged\nFix: llmlab up writes it anew, and what runs goes on",
        )
    return (
        f"{len(left)} processes of this lab run, and nothing says as what\n"
        "Fix: llmlab up starts it anew; llmlab down ends them",
    )


def _unrecorded(lab: Lab) -> tuple[str, ...]:
    """Requests are answered whether or not there is room for their lines."""
    try:
        disk = os.statvfs(lab.logs)
    except OSError as error:
        return (f"answers are not recorded: {lab.logs}: {error.strerror}\nFix: llmlab up",)
    if disk.f_flag & os.ST_RDONLY:
        return (f"answers are not recorded: {lab.logs} is read-only\nFix: findmnt -T {lab.logs}",)
    if disk.f_bavail * disk.f_frsize < ROOM:
        return (
            f"answers are not recorded: no space is left for {lab.logs}\nFix: df -h {lab.logs}",
        )
    return ()
