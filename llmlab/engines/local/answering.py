"""Waiting until what was started answers."""

from __future__ import annotations

import time

from llmlab.engines import probe
from llmlab.engines.address import refuse_open
from llmlab.engines.base import Plan, Say
from llmlab.engines.local.gateway import GATEWAY_DEADLINE
from llmlab.engines.local.programs import API_PREFIX, GATEWAY, suffixes
from llmlab.engines.local.supervisor import Supervisor
from llmlab.engines.local.waiting import pause
from llmlab.lab import Lab

READY_DEADLINE = 180.0  # seconds; a large model on a slow disk


def wait_for_deployments(lab: Lab, supervisor: Supervisor, plan: Plan, say: Say) -> None:
    """Raises:
    EnvironmentFailure: one of them does not come.
    """
    deadline = time.monotonic() + READY_DEADLINE
    for settings in plan.deployments:
        say(f"waiting for {settings.deployment} ({settings.model.runtime})")
        for suffix in suffixes(plan.replicas(settings.deployment)):
            process = settings.deployment + suffix
            while not probe.ready(lab.api_socket(process)):
                program = API_PREFIX + process
                pause(supervisor, program, deadline, fix=_fix(program))


def wait_for_gateway(lab: Lab, supervisor: Supervisor, say: Say) -> None:
    """Raises:
    EnvironmentFailure: it does not come.
    UsageError: it lets in who has no token.
    """
    say("waiting for the gateway")
    deadline = time.monotonic() + GATEWAY_DEADLINE
    while not probe.healthy_behind(lab.front_socket):
        pause(supervisor, GATEWAY, deadline, fix=_fix(GATEWAY))
    refuse_open(probe.status_at(lab.front_socket, "/summarize/"))


def _fix(program: str) -> str:
    return f"llmlab logs {program} has all of it; llmlab up --model NAME starts another"
