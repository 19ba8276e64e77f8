"""What a person can do with a rollout as it is: asked of the state machine, which alone knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from llmlab.errors import UsageError
from llmlab.rollout.machine import Abort, Pause, Promote, Resume, Verb, step
from llmlab.rollout.state import Rollout


@dataclass(frozen=True)
class Way:
    """A verb that makes sense now.

    Args:
        name: of the verb of `llmlab rollout`.
        after: the rollout, were it done now.
    """

    name: str
    event: Verb
    after: Rollout


def ways(rollout: Rollout, now: float) -> list[Way]:
    """Those that the machine does not refuse, and that change something; of two that lead to the
    same, the first."""
    found: list[Way] = []
    for name, event in _verbs(rollout):
        try:
            after = step(rollout, event, now)
        except UsageError:
            continue
        if after != rollout and _place(after) not in [_place(one.after) for one in found]:
            found.append(Way(name, event, after))
    return found


def verb_of(name: str, *, full: bool = False, arm: str = "", why: str = "") -> Verb:
    """
    Raises:
        UsageError: there is no such verb.
    """
    match name:
        case "promote":
            return Promote(full, arm, why)
        case "pause":
            return Pause(why)
        case "resume":
            return Resume(why)
        case "abort":
            return Abort(why)
    raise UsageError(
        f"{name!r} is nothing to do with a rollout", fix="promote, pause, resume or abort"
    )


def _verbs(rollout: Rollout) -> Iterator[tuple[str, Verb]]:
    yield "promote", Promote()
    yield "promote", Promote(full=True)
    for one in rollout.arms:
        yield "promote", Promote(arm=one.deployment)
    yield "resume", Resume()
    yield "pause", Pause()
    yield "abort", Abort()


def _place(rollout: Rollout) -> Rollout:
    return replace(rollout, ending="")  # the words for it may differ
