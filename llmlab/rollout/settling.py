"""Bring the running lab to where a rollout is, and write down that it is there.

Everything here may be done again: by the controller after it was killed, or by a person's verb
while there is no controller.
"""

from __future__ import annotations

from collections.abc import Callable

from llmlab.engines.base import Say
from llmlab.errors import LlmlabError
from llmlab.rollout.machine import Deployed, DeployFailed, Event, Settled, step
from llmlab.rollout.routes import TRIES
from llmlab.rollout.running import Running
from llmlab.rollout.state import Phase, Rollout
from llmlab.rollout.store import CONTROLLER, Rollouts

Clock = Callable[[], float]  # seconds since 1970


def route(rollouts: Rollouts, running: Running) -> bool:
    """Have the gateway take the weights that are wanted. Returns whether it had others."""
    if running.taken() == rollouts.traffic().revision:
        return False
    return running.route()


def settle(
    rollouts: Rollouts, running: Running, rollout: Rollout, clock: Clock, say: Say
) -> Rollout:
    """Take an unfinished rollout as far as the machines go: start, move, drain, stop.

    A candidate that does not come up ends the rollout. While it is tried, only weights change.

    Raises:
        LlmlabError: the lab cannot be brought there now; trying again later may help.
    """
    if rollout.phase in TRIES:
        route(rollouts, running)
        return rollout
    if rollout.phase is Phase.STARTING:
        rollout = _start(rollouts, running, rollout, clock, say)
    if rollout.phase in (Phase.COMPLETING, Phase.ABORTING):
        route(rollouts, running)  # at once; what follows waits for requests to end
        running.apply(say)
        decided = rollout.phase

        def settled(one: Rollout) -> Rollout:
            # Somebody may have aborted it meanwhile; then this has settled nothing.
            return step(one, Settled(), clock()) if one.phase is decided else one

        return rollouts.change(rollout.number, "settled", settled, who=CONTROLLER)
    route(rollouts, running)
    return rollout


def _start(
    rollouts: Rollouts, running: Running, rollout: Rollout, clock: Clock, say: Say
) -> Rollout:
    what: str
    event: Event
    try:
        running.apply(say)
        problem = running.lacks(one.deployment for one in rollout.arms)
    except LlmlabError as error:
        if not running.alive():
            raise
        problem = error.message
    if problem:
        reason = f"{rollout.target} does not come up: {problem}"
        what, event = "deploy-failed", DeployFailed(reason)
    else:
        what, event = "deployed", Deployed()
    return rollouts.change(
        rollout.number, what, lambda one: step(one, event, clock()), who=CONTROLLER
    )
