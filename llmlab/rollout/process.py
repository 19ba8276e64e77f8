"""The controller as one of a lab's supervised processes."""

from __future__ import annotations

import sys
import xmlrpc.client

from llmlab.engines.local.supervisor import Program, Supervisor
from llmlab.errors import LlmlabError
from llmlab.lab import Lab

CONTROLLER = "controller"
MODULE = "llmlab.rollout.controller"


def controller_program(lab: Lab) -> Program:
    """It ends with 0 once no rollout is unfinished, and stays ended until it is put again."""
    command = (sys.executable, "-P", "-m", MODULE, str(lab.root))
    return Program(CONTROLLER, command, final_exit=0)


def start_controller(lab: Lab) -> bool:
    """Have the controller running, under either engine's supervisor.

    Returns:
        Whether it runs, or will within a second; without a supervisor it does not.
    """
    supervisor = Supervisor(lab)
    if not supervisor.running():
        return False
    if supervisor.state(CONTROLLER).state in ("RUNNING", "STARTING"):
        return True
    try:
        supervisor.put(controller_program(lab))
    except (OSError, xmlrpc.client.Error, LlmlabError):
        return False
    return True
