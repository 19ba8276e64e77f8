"""Where the API processes of a lab run: as supervised ones beside the gateway, or elsewhere.

Whoever runs them, on the gateway's machine each is a unix socket (``Lab.api_socket``): all else of
a lab goes by that.
"""

from __future__ import annotations

from typing import Protocol

from llmlab.engines.base import Plan, Say
from llmlab.engines.local.answering import wait_for_deployments
from llmlab.engines.local.programs import api_programs
from llmlab.engines.local.supervisor import ProcessState, Supervisor
from llmlab.engines.local.supervisor_conf import Program
from llmlab.engines.status import NodeStatus
from llmlab.lab import Lab


class Placing(Protocol):
    """Runs them. ``name``: of the engine; ``linked``: whether they are behind links."""

    name: str
    linked: bool

    def fit(self, plan: Plan) -> Plan:
        """The plan, without what cannot be had this way. Changes nothing.

        Raises:
            UsageError: what runs cannot be brought to it.
        """
        ...

    def prepare(self, plan: Plan) -> None:
        """Lay out what those programs read."""
        ...

    def programs(self, plan: Plan) -> list[Program]:
        """What is supervised on this machine for their sake. Changes nothing."""
        ...

    def start(self, plan: Plan) -> None:
        """Have those of a plan as well; what runs goes on."""
        ...

    def wait(self, plan: Plan, before: Plan | None, say: Say) -> None:
        """Until all of them answer.

        Args:
            before: what was brought up last, of a lab that runs.

        Raises:
            EnvironmentFailure: one of them does not come.
        """
        ...

    def keep_only(self, plan: Plan) -> None:
        """End those that a plan has not; nobody asks them any more."""
        ...

    def end(self) -> None:
        """End all of them."""
        ...

    def left(self) -> tuple[str, ...]:
        """What ``end`` could not end, as warnings."""
        ...

    def processes(self) -> list[ProcessState]:
        """Those that no supervisor on this machine knows of, under the names of its programs."""
        ...

    def machines(self) -> tuple[NodeStatus, ...]:
        """Where they may run; empty where that is this machine."""
        ...

    def warnings(self) -> tuple[str, ...]:
        """What is wrong with that."""
        ...


class Here:
    """As supervised processes; see ``Placing``."""

    name, linked = "local", False

    def __init__(self, lab: Lab, supervisor: Supervisor) -> None:
        self._lab, self._supervisor = lab, supervisor

    def fit(self, plan: Plan) -> Plan:
        return plan

    def prepare(self, plan: Plan) -> None:
        """They read their settings, and nothing else."""

    def programs(self, plan: Plan) -> list[Program]:
        return api_programs(self._lab, plan)

    def start(self, plan: Plan) -> None:
        """They are among ``programs``."""

    def wait(self, plan: Plan, before: Plan | None, say: Say) -> None:
        wait_for_deployments(self._lab, self._supervisor, plan, say)

    def keep_only(self, plan: Plan) -> None:
        """As ``start``."""

    def end(self) -> None:
        """As ``start``."""

    def left(self) -> tuple[str, ...]:
        return ()

    def processes(self) -> list[ProcessState]:
        return []

    def machines(self) -> tuple[NodeStatus, ...]:
        return ()

    def warnings(self) -> tuple[str, ...]:
        return ()
