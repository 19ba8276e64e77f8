"""Which deployment is the judge, and whether it would judge itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llmlab.config.budgets import Price
from llmlab.engines.base import Plan
from llmlab.errors import UsageError
from llmlab.near import hint


@dataclass(frozen=True, slots=True)
class Whom:
    """The deployment that is asked.

    Args:
        name: as lab.toml has it.
        model_id: of what answers; of a model elsewhere it says only what is asked.
    """

    name: str
    deployment: str
    model_id: str
    price: Price


def find_judge(name: str, plan: Plan, running: Mapping[str, str]) -> Whom:
    """The judge of a lab that runs. Of a route it is the stable deployment, also while a
    rollout is under way.

    Args:
        name: `judge.model`, as the name of a deployment or of a route.
        running: {deployment: its model's id}

    Raises:
        UsageError: there is no judge, it does not run, or it is no chat model.
    """
    if not name:
        raise UsageError(
            "this lab has no judge", fix='judge.model = "NAME" of a chat model in configs/lab.toml'
        )
    deployment = name
    if name not in running and name in plan.routes:
        deployment = plan.leading(name)
    settings = next((one for one in plan.deployments if one.deployment == deployment), None)
    if deployment not in running or settings is None:
        known = [*running, *plan.routes]
        raise UsageError(
            f"judge.model: {name} does not run in this lab{hint(name, known)}",
            fix=f"llmlab deploy {name}, or name one of {', '.join(dict.fromkeys(known))}",
        )
    if not settings.model.chats:
        raise UsageError(
            f"judge.model: {deployment} only summarizes, and answers no question",
            fix="name a chat model, here or elsewhere (llmlab models add-upstream)",
        )
    return Whom(name, deployment, running[deployment], settings.model.price)


def refuse_itself(judge: Whom, judged: Iterable[str], running: Mapping[str, str]) -> None:
    """
    Args:
        judged: deployments whose answers are judged.

    Raises:
        UsageError: the judge is one of them, or the same model under another name.
    """
    for name in judged:
        if name == judge.deployment or running.get(name) == judge.model_id:
            also = "" if name == judge.deployment else f", which is the same model as {name}"
            raise UsageError(
                f"{judge.deployment} is the judge{also}: nobody judges himself",
                fix="another judge.model in configs/lab.toml, or compare others",
            )
