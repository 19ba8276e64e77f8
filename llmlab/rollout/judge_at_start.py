"""Whether the judge of a rollout may judge it, before it begins."""

from __future__ import annotations

from llmlab.judging.allowed import allowed_judge
from llmlab.lab import Lab
from llmlab.models.inspect import ids
from llmlab.rollout.judged_pairs import asks_judge
from llmlab.rollout.planning import Known
from llmlab.rollout.state import Rollout, Version


def refuse_unless_judged(rollout: Rollout, known: Known) -> None:
    """Where a judge is evidence, it has to be one; where none is, nothing is asked for.

    Raises:
        GateFailure: it was not calibrated, or is refused by what its calibration found.
        UsageError: there is none, it does not run, or it is one of the two.
    """
    if not asks_judge(rollout.rules):
        return
    versions = rollout.candidate, rollout.base
    names = [one.deployment for one in versions]
    # A candidate that this rollout starts does not say yet which model it is.
    by_name = {one.deployment: found for one in versions if (found := _id_of(one, known))}
    allowed_judge(Lab(known.root), names, by_name)


def _id_of(version: Version, known: Known) -> str:
    """ "" for what only summarizes, and so is no judge under any name."""
    found = known.catalogue.find(version.model)
    if found is None or not found.model.chats:
        return ""
    if found.record:
        return found.record.id
    return next(iter(ids(found.name, found.model, known.root)), "")
