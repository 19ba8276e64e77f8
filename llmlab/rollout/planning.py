"""From what a person asks for to a rollout that can begin, and what speaks against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from llmlab.config import Config
from llmlab.config.schema import MODEL_NAME
from llmlab.engines.base import Plan
from llmlab.errors import UsageError
from llmlab.names import SUMMARIZE
from llmlab.near import hint
from llmlab.registry.catalogue import Catalogue
from llmlab.registry.catalogue import Known as Model
from llmlab.rollout.machine import Deployed, step
from llmlab.rollout.state import Kind, Rollout, Rules, Version
from llmlab.rollout.steps import checked_steps
from llmlab.traffic import Route, Traffic

PROBES = 1.0  # a second, where there is no other way to get samples


@dataclass(frozen=True)
class Wish:
    """What a person asks for.

    Args:
        models: the candidate; for ab, A and B.
        percent: for ab, of the requests for A; for shadow, of those that are copied.
        rules: what is to be otherwise than in lab.toml, by name; None values are left out.
        deployment: a name of its own for the candidate's deployment: a second one of a model
            that is deployed already, say.
        route: the public name whose traffic moves.
    """

    kind: Kind
    models: tuple[str, ...]
    percent: float = 0.0
    by: str = "subject"
    auto_promote: bool = False
    rules: Mapping[str, Any] | None = None
    deployment: str = ""
    who: str = ""
    why: str = ""
    route: str = SUMMARIZE


# What lab.toml calls the texts and their gate where a route is no summaries', and whose place
# they take.
CHATS = {"chat_gate": "text_gate", "chat_suite": "probe_suite", "chat_pairs_gate": "pairs_gate"}
# Where clients' own answers decide; and a summary says nothing of how it ended.
BY_ANSWERS = (Kind.CANARY, Kind.AB)
PAIRED = (Kind.CANARY, Kind.BLUEGREEN, Kind.AB)


@dataclass(frozen=True)
class Known:
    """What the lab has: the plan that runs, and its models."""

    plan: Plan
    catalogue: Catalogue
    root: Path

    @property
    def config(self) -> Config:
        return self.catalogue.config


def rules_of(config: Config, wish: Wish) -> Rules:
    """lab.toml's rules, with what the wish wants otherwise."""
    section = config.rollout.model_dump()
    of_chat = {name: section.pop(name) for name in CHATS}
    if wish.route != SUMMARIZE:
        section |= {CHATS[name]: value for name, value in of_chat.items()}
    section["steps"] = tuple(section["steps"])
    told_of = wish.route != SUMMARIZE and wish.kind in BY_ANSWERS
    if not told_of:
        section["answer_gate"] = ""
    del section["pairs_never"]
    names = {one.name for one in fields(Rules)}
    asked = {name: value for name, value in (wish.rules or {}).items() if value is not None}
    assert set(section) == names >= set(asked)
    if asked.get("answer_gate") and not told_of:
        raise UsageError(
            f"of a {wish.kind} of {wish.route} it is not judged how answers come and end",
            fix="a canary, or ab, of a chat route: llmlab rollout start canary MODEL --route chat",
        )
    if "steps" in asked:
        asked["steps"] = checked_steps(asked["steps"])
    rules = _paired(Rules(**{**section, **asked}), config, wish, wanted="pairs" in asked)
    no_traffic = wish.kind is Kind.BLUEGREEN
    thin = "probe_suite" in asked and "probe_rate" not in asked
    if (no_traffic or thin) and rules.probe_rate == 0:
        rules = replace(rules, probe_rate=PROBES)
    if rules.interval > rules.progress_deadline:
        raise UsageError(
            f"a step of {rules.interval:g} s does not end before its deadline, after "
            f"{rules.progress_deadline:g} s",
            fix=f"--progress-deadline {10 * rules.interval:g}s",
        )
    return rules


def _paired(rules: Rules, config: Config, wish: Wish, *, wanted: bool) -> Rules:
    """The rules, without pairs where nothing may be paired.

    Args:
        wanted: somebody has asked for pairs just now, and has to hear of it.
    """
    why, fix = "", ""
    if path := config.never_paired(wish.route):
        why, fix = f"{path} names {wish.route}", f"llmlab config show {path}"
    elif wish.kind not in PAIRED:  # a shadow holds all of its copies against each other
        why, fix = f"{wish.kind} compares otherwise", "llmlab rollout start canary MODEL"
    elif not rules.pairs_gate:
        why, fix = "the gate of pairs is empty", '--pairs-gate "unsupported<=+0.02"'
    if not why:
        return rules
    if wanted and rules.pairs:
        raise UsageError(f"nothing is paired here: {why}", fix=fix)
    return replace(rules, pairs=0.0)


def rollout_of(
    wish: Wish, known: Known, number: int, traffic: Traffic, history: Sequence[Rollout], now: float
) -> Rollout:
    """A rollout as it begins.

    Raises:
        UsageError: it makes no sense as things are; says why.
    """
    rules = rules_of(known.config, wish)
    stable = stable_of(known, traffic, wish.route)
    if wish.kind is Kind.SHADOW and wish.route != SUMMARIZE:
        raise UsageError(
            f"of {wish.route} nothing can be copied: what is compared are summaries",
            fix=f"llmlab rollout start canary {wish.models[-1]} --route {wish.route}",
        )
    arms = tuple(version_of(known, traffic, model) for model in wish.models)
    if wish.deployment:
        arms = (*arms[:-1], replace(arms[-1], deployment=wish.deployment))
    _refuse_same(wish, stable, arms)
    there = deployments(known, traffic)
    started = tuple(dict.fromkeys(
        one.deployment for one in arms if one.deployment not in there
    ))  # fmt: skip
    named = {one.deployment for one in arms} | {stable.deployment}
    return Rollout(
        number, wish.kind, stable, traffic.route(wish.route).stable, arms,
        known.plan.routes[wish.route], rules,
        started=started, retired=_retired(traffic, _of(history, wish.route), named),
        percent=wish.percent, by=wish.by, auto_promote=wish.auto_promote, since=now,
        who=wish.who, why=wish.why, created=now, route=wish.route,
    )  # fmt: skip


def undo_of(
    known: Known, number: int, traffic: Traffic, history: Sequence[Rollout], now: float,
    *, to: int | None, who: str, why: str, route: str = SUMMARIZE,
) -> Rollout:  # fmt: skip
    """A rollout that gives all traffic back.

    Args:
        to: the number of the rollout whose outcome is wanted again; 0 for lab.toml's stable
            deployment; None for what had the traffic before the last promotion.
    """
    stable = stable_of(known, traffic, route)
    target = _earlier(known, traffic.route(route), _of(history, route), to, route)
    if target.deployment == stable.deployment:
        raise UsageError(
            f"{stable.deployment} has all the traffic already", fix="llmlab rollout history"
        )
    started = () if target.deployment in deployments(known, traffic) else (target.deployment,)
    named = {target.deployment, stable.deployment}
    rollout = Rollout(
        number, Kind.UNDO, stable, traffic.route(route).stable, (target,),
        known.plan.routes[route],
        rules_of(known.config, Wish(Kind.UNDO, ())), started=started,
        retired=_retired(traffic, _of(history, route), named), since=now, who=who, why=why,
        created=now, route=route,
    )  # fmt: skip
    # What still runs gets the traffic at once.
    there = traffic.deployed(target.deployment)
    rests = there is not None and not there.replicas
    return rollout if started or rests else step(rollout, Deployed(), now)


def _of(history: Sequence[Rollout], route: str) -> list[Rollout]:
    return [one for one in history if one.route == route]


def _earlier(
    known: Known, now: Route, history: Sequence[Rollout], to: int | None, route: str
) -> Version:
    promotions = [one for one in history if one.over and one.promoted]
    if to == 0:
        return _configured(known, route)
    if to is not None:
        found = [one for one in promotions if one.number == to]
        if not found:
            raise UsageError(
                f"rollout {to} has promoted nothing"
                if any(one.number == to for one in history)
                else f"there is no rollout {to} of {route}",
                fix="llmlab rollout history; --to 0 is the stable deployment of lab.toml",
            )
        arms = {one.deployment: one for one in found[0].arms}
        return arms[found[0].promoted]
    if promotions:
        return promotions[-1].stable
    if now.stable:
        return _configured(known, route)
    raise UsageError("nothing was promoted yet, so there is nothing to undo")


def stable_of(known: Known, traffic: Traffic, route: str = SUMMARIZE) -> Version:
    """What has the traffic of a route now.

    Raises:
        UsageError: there is no such route.
    """
    routes = known.plan.routes
    if route not in routes:
        raise UsageError(
            f"this lab has no route {route!r}; routes: {', '.join(routes)}{hint(route, routes)}",
            fix=f"{route} = MODEL in [routes] of configs/lab.toml, then llmlab up",
        )
    stable = traffic.route(route).stable
    if stable in ("", routes[route]):
        return _configured(known, route)
    deployed = traffic.deployed(stable)
    if deployed:
        return Version(deployed.name, deployed.model)
    return _of_plan(known, stable)


def _configured(known: Known, route: str) -> Version:
    return _of_plan(known, known.plan.routes[route])


def _of_plan(known: Known, deployment: str) -> Version:
    found = [one for one in known.plan.deployments if one.deployment == deployment]
    if not found:
        raise UsageError(f"{deployment} does not run", fix="llmlab up")
    record = known.catalogue.record_of(found[0].model)
    if found[0].name in known.config.models or record is None:
        return Version(deployment, found[0].name)
    return Version(deployment, record.reference)


def deployments(known: Known, traffic: Traffic) -> set[str]:
    """Those that run, or are meant to."""
    return {one.deployment for one in known.plan.deployments} | {
        one.name for one in traffic.deployments
    }


def version_of(known: Known, traffic: Traffic, model: str) -> Version:
    """What a person means: a deployment's name, a name of lab.toml, or a registered model.

    An alias, and a name without a version, mean the version that they mean now.

    Raises:
        UsageError: there is no such model.
    """
    if deployed := traffic.deployed(model):
        return Version(deployed.name, deployed.model)
    if model in {one.deployment for one in known.plan.deployments}:
        return _of_plan(known, model)
    found = _found(known, model)
    if found.record is None or model in known.config.models:
        return Version(found.name, found.name)
    record = found.record
    for one in known.plan.deployments:
        if record.serves(one.model, one.prompt):
            return Version(one.deployment, record.reference)
    return Version(f"{record.name}-{record.version}", record.reference)


def _found(known: Known, model: str) -> Model:
    try:
        return known.catalogue.get(model)
    except UsageError as error:
        if not MODEL_NAME.fullmatch(model):  # a version, an id: no deployment has such a name
            raise
        raise UsageError(
            f"{model!r} is no deployment of this lab, and {error.message}",
            fix=f"llmlab deploy MODEL --name {model}, or name a model (llmlab models list)",
        ) from None


def _refuse_same(wish: Wish, stable: Version, arms: tuple[Version, ...]) -> None:
    if wish.kind is Kind.AB:
        if arms[0].deployment == arms[1].deployment:
            raise UsageError(
                f"{arms[0].deployment} cannot be compared with itself", fix="name two deployments"
            )
    elif arms[0].deployment == stable.deployment:
        raise UsageError(
            f"{stable.deployment} has all the traffic already, so there is nothing to roll out",
            fix="llmlab models list shows what else there is",
        )


def _retired(traffic: Traffic, history: Sequence[Rollout], named: set[str]) -> str:
    """The deployment that the last promotion kept for `undo`, unless it is one of ``named``."""
    kept = [one.stable.deployment for one in history if one.over and one.promoted]
    found = kept[-1] if kept else ""
    # What is deployed beside lab.toml; what lab.toml itself deploys stays.
    return found if traffic.deployed(found) and found not in named else ""


def checked_by(by: str) -> str:
    """``subject``, ``cookie:NAME`` or ``claim:NAME``."""
    kind, colon, name = by.partition(":")
    plain = bool(name) and name.replace("_", "").replace("-", "").isalnum() and name.isascii()
    if by == "subject" or (kind in ("cookie", "claim") and colon and plain):
        return by
    raise UsageError(
        f"{by!r} is nothing to split by", fix="--by subject, cookie:NAME or claim:NAME"
    )
