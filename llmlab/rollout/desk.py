"""What verbs on a lab's rollouts start from, whoever asks for them: a terminal, or the console."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from llmlab.config import read_config
from llmlab.engines.base import Say
from llmlab.engines.choice import running_engine
from llmlab.engines.record import Record
from llmlab.engines.status import LabStatus
from llmlab.errors import UpstreamError
from llmlab.lab import Lab
from llmlab.registry import Registry
from llmlab.registry.catalogue import Catalogue
from llmlab.rollout.judge_told import cost_told, texts_told
from llmlab.rollout.pairs_power import pairs_told
from llmlab.rollout.planning import Known
from llmlab.rollout.power import told, usual_of
from llmlab.rollout.problems import Problem
from llmlab.rollout.process import start_controller
from llmlab.rollout.running import RunningLab
from llmlab.rollout.state import Rollout
from llmlab.rollout.store import Rollouts
from llmlab.rollout.verbs import PATIENCE, Desk
from llmlab.rollout.view import View, gather


def desk_of(lab: Lab, say: Say, route: str = "", *, patience: float = PATIENCE) -> Desk:
    """Where verbs are done.

    Args:
        patience: seconds, for a candidate that starts while it is promoted.
    """
    return Desk(
        Rollouts(lab), RunningLab(lab), lambda: start_controller(lab), say,
        route=route, patience=patience,
    )  # fmt: skip


def known_of(lab: Lab) -> Known:
    """What the running lab has, and its models.

    Raises:
        UpstreamError: it does not run.
    """
    record = Record.read(lab)
    if record is None:
        raise UpstreamError("the lab does not run", fix="llmlab up")
    return Known(record.plan(), catalogue_of(lab), lab.root)


def catalogue_of(lab: Lab) -> Catalogue:
    """The models of lab.toml as it is now, and the registered ones."""
    config = read_config(lab.config_file, environ=os.environ).config
    return Catalogue(config, Registry(lab))


def status_of(lab: Lab) -> LabStatus | None:
    """None if it does not run. Under compose this asks much of Docker, and of each API."""
    engine = running_engine(lab)
    return engine.status() if engine else None


def view_of(lab: Lab, status: LabStatus | None, route: str = "", number: int | None = None) -> View:
    """The rollout that is under way, or the last one; with ``number`` that one."""
    return gather(lab, Rollouts(lab), status, time.time(), route, number)


def concerns(lab: Lab, rollout: Rollout, known: Known) -> Iterator[Problem]:
    """What whoever has begun a rollout should hear: of steps that will not decide in time, by the
    traffic of the last hour, and of what its pairs cost and whom they show what clients send."""
    usual = usual_of(RunningLab(lab), rollout.stable.deployment)
    needs = (*told(rollout, usual), *pairs_told(rollout, usual))
    yield from (one for one in needs if one.severity == "warning")
    yield from cost_told(rollout.rules, known)
    yield from texts_told(rollout, known)
