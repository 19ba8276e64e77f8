"""Going back to what lab.toml says."""

from __future__ import annotations

from llmlab.engines.attendants import rollout_is_unfinished
from llmlab.errors import UsageError
from llmlab.lab import Lab
from llmlab.ledger.store import Store
from llmlab.traffic import Traffic


def reset(lab: Lab, why: str = "") -> Traffic:
    """Forget all deployments, routes and flags beyond lab.toml; the ledger keeps what they were.

    Raises:
        UsageError: a rollout is not finished, which would make them anew.
    """
    if rollout_is_unfinished(lab):
        raise UsageError("a rollout is not finished", fix="llmlab rollout abort")
    what = {"did": "reset"}
    return Store(lab).change("route", what, lambda now: Traffic().at(now.revision), why)
