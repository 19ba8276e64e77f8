"""What follows from what happens to a rollout: pure, and total over phases and events.

``step`` knows no clock, no gateway and no database. A person's verb that makes no sense raises
UsageError; what the controller tells never does, since it may come late.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from llmlab.errors import UsageError
from llmlab.rollout.state import Judged, Kind, Outcome, Paused, Phase, Rollout, Verdict

KEPT_VERDICTS = 50  # of a rollout, that something followed from
SETBACKS = 3  # after which a person has to look


# --- what the controller tells ----------------------------------------------------


@dataclass(frozen=True)
class Deployed:
    """Everything that the rollout needs runs, and is ready."""


@dataclass(frozen=True)
class DeployFailed:
    """Something of it does not come up."""

    reason: str


@dataclass(frozen=True)
class Tick:
    """Time passed; this is what the evidence says by now."""

    verdict: Verdict


@dataclass(frozen=True)
class Settled:
    """The gateway has the routes, and what is not needed any more is drained and gone."""


# --- what a person says -------------------------------------------------------------


@dataclass(frozen=True)
class Promote:
    """One step on, or with ``full`` all the way. ``arm``: which of A and B."""

    full: bool = False
    arm: str = ""
    why: str = ""


@dataclass(frozen=True)
class Pause:
    """Stay at this step."""

    why: str = ""


@dataclass(frozen=True)
class Resume:
    """Go on from this step."""

    why: str = ""


@dataclass(frozen=True)
class Abort:
    """Give all traffic back."""

    why: str = ""


Told = Deployed | DeployFailed | Tick | Settled
Verb = Promote | Pause | Resume | Abort
Event = Told | Verb


def step(rollout: Rollout, event: Event, now: float) -> Rollout:
    """The rollout after an event.

    Args:
        now: seconds since 1970.

    Raises:
        UsageError: a person's verb makes no sense in this phase; says why and what does.
    """
    match event:
        case Deployed():
            return _deployed(rollout, now) if rollout.phase is Phase.STARTING else rollout
        case DeployFailed(reason):
            starting = rollout.phase is Phase.STARTING
            return _aborting(rollout, now, reason) if starting else rollout
        case Tick(verdict):
            return _ticked(rollout, verdict, now)
        case Settled():
            return _settled(rollout, now)
        case Promote():
            return _promoted(rollout, event, now)
        case Pause():
            return _paused_by_person(rollout, now)
        case Resume():
            return _resumed(rollout, now)
        case Abort(why):
            return _aborted_by_person(rollout, why, now)


# --- the controller's events ----------------------------------------------------------


def _deployed(rollout: Rollout, now: float) -> Rollout:
    if rollout.kind is Kind.UNDO:
        return _completing(rollout, rollout.candidate.deployment, now, "the traffic is back")
    return _at_step(rollout, 1, now)


def _at_step(rollout: Rollout, number: int, now: float) -> Rollout:
    canary = rollout.kind is Kind.CANARY
    percent = rollout.share_at(number) if canary else rollout.percent
    return replace(
        rollout, phase=Phase.PROGRESSING, step=number, percent=percent, since=now, paused=None,
        verdict=None, baking=False,
    )  # fmt: skip


def _ticked(rollout: Rollout, verdict: Verdict, now: float) -> Rollout:
    if rollout.phase not in (Phase.PROGRESSING, Phase.PAUSED):
        return rollout
    rollout = replace(rollout, verdict=verdict)
    if rollout.kind is Kind.AB:
        return rollout  # a person decides
    if verdict.outcome is Outcome.FAIL:
        return _aborting(_noted(rollout, now), now, verdict.reason)
    if rollout.phase is Phase.PAUSED:
        return rollout
    if verdict.broke and rollout.kind is Kind.CANARY and rollout.step > 1:
        return _set_back(_noted(rollout, now), now)
    if now - rollout.since < (rollout.rules.bake if rollout.baking else rollout.rules.interval):
        return rollout
    if verdict.outcome is Outcome.PASS and verdict.samples:
        return _passed(_noted(rollout, now), verdict, now)
    return _undecided(rollout, verdict, now)


def _passed(rollout: Rollout, verdict: Verdict, now: float) -> Rollout:
    if rollout.kind is Kind.BLUEGREEN and not rollout.auto_promote:
        return _paused(rollout, Paused.PREVIEW, now)
    if rollout.kind is Kind.SHADOW:
        return _completing(rollout, "", now, verdict.reason)
    return _one_step_on(rollout, now, verdict.reason)


def _set_back(rollout: Rollout, now: float) -> Rollout:
    """Back to the step before, where the candidate has been good; again and again, and a person
    has to look."""
    back = replace(_at_step(rollout, rollout.step - 1, now), setbacks=rollout.setbacks + 1)
    return _paused(back, Paused.BROKE, now) if back.setbacks >= SETBACKS else back


def _undecided(rollout: Rollout, verdict: Verdict, now: float) -> Rollout:
    rules = rollout.rules
    deadline = rules.progress_deadline + (rules.bake if rollout.baking else 0.0)
    late = now - rollout.since >= deadline
    if verdict.waiting and rules.on_inconclusive == "wait" and not late:
        return rollout
    why = Paused.DEADLINE if verdict.waiting and late else Paused.INCONCLUSIVE
    if not verdict.samples:
        why = Paused.NO_TRAFFIC
    rollout = _noted(rollout, now)
    if late and rules.on_deadline == "abort":
        return _aborting(rollout, now, f"{why} ({deadline:g} s): {verdict.reason}")
    paused = _paused(rollout, why, now)
    if verdict.above and rollout.kind is Kind.CANARY:
        # Nobody knows whether it is chance; until somebody does, nobody is to suffer from it.
        return replace(paused, percent=rollout.share_at(rollout.step - 1))
    return paused


def _settled(rollout: Rollout, now: float) -> Rollout:
    after = {Phase.COMPLETING: Phase.COMPLETED, Phase.ABORTING: Phase.ABORTED}.get(rollout.phase)
    return replace(rollout, phase=after, since=now, ended=now) if after else rollout


# --- a person's verbs -------------------------------------------------------------------


def _promoted(rollout: Rollout, how: Promote, now: float) -> Rollout:
    _refuse_over(rollout)
    if rollout.kind is Kind.SHADOW:
        raise UsageError(
            f"rollout {rollout.number} is a shadow, which never takes traffic",
            fix=f"llmlab rollout abort, then llmlab rollout start canary {rollout.candidate.model}",
        )
    if rollout.phase is Phase.STARTING:
        raise UsageError(
            f"rollout {rollout.number} is starting: {rollout.target} does not answer yet",
            fix="llmlab rollout get --watch, and promote once it is progressing",
        )
    _refuse_decided(rollout)
    if rollout.kind is Kind.AB:
        return _completing(rollout, _arm(rollout, how.arm), now, "promoted by a person")
    if how.arm and how.arm != rollout.candidate.deployment:
        raise UsageError(
            f"rollout {rollout.number} tries {rollout.candidate.deployment}, not {how.arm}",
            fix="llmlab rollout promote",
        )
    if how.full:
        return _completing(
            rollout, rollout.candidate.deployment, now, "promoted in full by a person"
        )
    return _one_step_on(rollout, now, "promoted by a person")


def _arm(rollout: Rollout, named: str) -> str:
    names = [one.deployment for one in rollout.arms]
    if named in names:
        return named
    found = [one.deployment for one in rollout.arms if one.model == named]
    if found:
        return found[0]
    raise UsageError(
        f"rollout {rollout.number} compares {' and '.join(names)}; "
        + (f"{named} is neither" if named else "which of them gets the traffic?"),
        fix=f"llmlab rollout promote {names[0]}",
    )


def _one_step_on(rollout: Rollout, now: float, why: str) -> Rollout:
    if rollout.step < rollout.last_step:
        return _at_step(rollout, rollout.step + 1, now)
    if rollout.kind is Kind.CANARY and rollout.rules.bake and not rollout.baking:
        return replace(
            rollout, phase=Phase.PROGRESSING, baking=True, since=now, paused=None
        )  # fmt: skip
    return _completing(rollout, rollout.candidate.deployment, now, why)


def _paused_by_person(rollout: Rollout, now: float) -> Rollout:
    _refuse_over(rollout)
    if rollout.phase is Phase.PAUSED:
        raise UsageError(
            f"rollout {rollout.number} is paused already: {rollout.paused}",
            fix="llmlab rollout resume, promote or abort",
        )
    if rollout.phase is Phase.STARTING:
        raise UsageError(
            f"rollout {rollout.number} is starting: it takes no traffic that could be held",
            fix="llmlab rollout abort, or pause once it is progressing",
        )
    _refuse_decided(rollout)
    return _paused(rollout, Paused.PERSON, now)


def _resumed(rollout: Rollout, now: float) -> Rollout:
    _refuse_over(rollout)
    if rollout.phase is not Phase.PAUSED:
        raise UsageError(
            f"rollout {rollout.number} is not paused, it is {rollout.phase}",
            fix="llmlab rollout get",
        )
    canary = rollout.kind is Kind.CANARY
    percent = rollout.share_at(rollout.step) if canary else rollout.percent
    return replace(rollout, phase=Phase.PROGRESSING, percent=percent, since=now, paused=None)


def _aborted_by_person(rollout: Rollout, why: str, now: float) -> Rollout:
    _refuse_over(rollout)
    if rollout.phase is Phase.ABORTING:
        return rollout
    return _aborting(rollout, now, f"aborted by a person{f': {why}' if why else ''}")


def _refuse_over(rollout: Rollout) -> None:
    if rollout.over:
        raise UsageError(
            f"rollout {rollout.number} is over: it is {rollout.phase}",
            fix="llmlab rollout start canary MODEL"
            + (", or llmlab rollout undo" if rollout.promoted else ""),
        )


def _refuse_decided(rollout: Rollout) -> None:
    if rollout.phase is Phase.ABORTING:
        raise UsageError(
            f"rollout {rollout.number} is being aborted: {rollout.ending}",
            fix="llmlab rollout status, then start another one",
        )
    if rollout.phase is Phase.COMPLETING:
        raise UsageError(
            f"rollout {rollout.number} is decided: {rollout.promoted or rollout.stable.deployment}"
            " has all the traffic",
            fix="llmlab rollout abort takes it back at once",
        )


# --- phases -----------------------------------------------------------------------------


def _paused(rollout: Rollout, why: Paused, now: float) -> Rollout:
    return replace(rollout, phase=Phase.PAUSED, paused=why, since=now)


def _completing(rollout: Rollout, promoted: str, now: float, why: str) -> Rollout:
    return replace(
        rollout, phase=Phase.COMPLETING, promoted=promoted, since=now, paused=None, ending=why
    )


def _aborting(rollout: Rollout, now: float, why: str) -> Rollout:
    return replace(
        rollout, phase=Phase.ABORTING, promoted="", since=now, paused=None, ending=why
    )  # fmt: skip


def _noted(rollout: Rollout, now: float) -> Rollout:
    """The newest verdict kept for good: something follows from it."""
    assert rollout.verdict
    judged = (*rollout.judged, Judged(now, rollout.step, rollout.verdict))
    return replace(rollout, judged=judged[-KEPT_VERDICTS:])
