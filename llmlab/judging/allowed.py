"""Who judges in a lab that runs, and that it may: by its model and its rubric as they are now.

For those who judge without a person beside them, such as a rollout. By lab.toml alone: who asks
later has another environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llmlab.config import read_config
from llmlab.engines.base import Plan
from llmlab.engines.choice import running_engine
from llmlab.engines.record import Record
from llmlab.errors import UpstreamError
from llmlab.judging.calibration import Calibration
from llmlab.judging.kept import Kept, refuse_unless_valid, state_of, suite_digest
from llmlab.judging.rubric import Rubric, read_rubric
from llmlab.judging.whom import Whom, find_judge, refuse_itself
from llmlab.lab import Lab
from llmlab.registry.catalogue import Catalogue
from llmlab.registry.registry import Registry


@dataclass(frozen=True, slots=True)
class Allowed:
    """A judge that may judge.

    Args:
        most: tokens of its answer.
    """

    whom: Whom
    rubric: Rubric
    most: int
    calibration: Calibration


def allowed_judge(
    lab: Lab, judged: Iterable[str], known: Mapping[str, str] | None = None
) -> Allowed:
    """
    Args:
        judged: deployments whose answers are judged.
        known: the ids of models that do not run yet, by deployment.

    Raises:
        ConfigError: the rubric cannot be read.
        GateFailure: the judge was not calibrated, or is refused by what its calibration found.
        UpstreamError: the lab does not run.
        UsageError: there is no judge, it does not run, or it is one of those.
    """
    config = read_config(lab.config_file).config
    bounds = config.judge
    rubric = read_rubric(bounds.rubric, lab.root)
    engine, record = running_engine(lab), Record.read(lab)
    if engine is None or record is None:
        raise UpstreamError("the lab does not run", fix="llmlab up")
    running = {one.name: one.model_id for one in engine.status().deployments}
    plan = record.plan()
    name = deployment_of(bounds.model, Catalogue(config, Registry(lab)), plan)
    whom = find_judge(name, plan, running)
    refuse_itself(whom, judged, {**(known or {}), **running})
    latest = Kept(lab).latest(whom.model_id, rubric.digest)
    why = state_of(latest, bounds, rubric.digest, suite_digest(lab.root))
    calibration = refuse_unless_valid(whom.deployment, latest, why)
    return Allowed(whom, rubric, bounds.max_tokens, calibration)


def deployment_of(name: str, catalogue: Catalogue, plan: Plan) -> str:
    """What serves a registered model, as `llmlab judge` finds it; other names as they are."""
    if not name or name in plan.names or name in plan.routes:
        return name
    known = catalogue.find(name)
    record = known.record if known else None
    served = (
        one.deployment for one in plan.deployments
        if record and record.serves(one.model, one.prompt)
    )  # fmt: skip
    return next(served, name)
