"""Which deployments a lab has: those that were started, and those that are wanted beside them."""

from __future__ import annotations

import os

from llmlab.config import read_config
from llmlab.engines.record import Record
from llmlab.errors import UsageError
from llmlab.lab import Lab
from llmlab.ledger.store import Store
from llmlab.near import hint


def deployments(lab: Lab) -> tuple[str, ...]:
    """Their names. Of a lab that was never up, those that lab.toml names."""
    if record := Record.read(lab):
        first = record.deployments
    else:
        config = read_config(lab.config_file, environ=os.environ).config
        first = [config.stable, *config.deploy]
    beside = [one.name for one in Store(lab).traffic().deployments]
    return tuple(dict.fromkeys([*first, *beside]))


def check_deployment(lab: Lab, name: str) -> None:
    """Raises UsageError unless a deployment has this name."""
    known = deployments(lab)
    if name not in known:
        raise UsageError(
            f"{name!r} is no deployment of this lab; it has {', '.join(known)}{hint(name, known)}",
            fix="llmlab status shows them; llmlab deploy MODEL starts another",
        )
