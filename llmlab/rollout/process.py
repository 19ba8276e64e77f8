"""The controller as one of a lab's supervised processes."""

from __future__ import annotations

import xmlrpc.client

from llmlab.engines.attendants import attend
from llmlab.errors import LlmlabError
from llmlab.lab import Lab


def start_controller(lab: Lab) -> bool:
    """Have the controller running, under either engine's supervisor, if a rollout is unfinished.

    Returns:
        Whether it runs, or will within a second; without a supervisor it does not.
    """
    try:
        attend(lab)
    except (OSError, xmlrpc.client.Error, LlmlabError):
        return False
    return True
