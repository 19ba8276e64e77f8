"""What is wrong with a rollout that somebody plans, without starting it."""

from __future__ import annotations

import time
from collections.abc import Callable

from llmlab.errors import LlmlabError, UpstreamError
from llmlab.lab import Lab
from llmlab.registry.catalogue import Catalogue
from llmlab.rollout.judge_at_start import refuse_unless_judged
from llmlab.rollout.judge_told import cost_told, texts_told
from llmlab.rollout.judged_pairs import asks_judge
from llmlab.rollout.pairs_power import pairs_told
from llmlab.rollout.planning import (
    Known,
    Wish,
    checked_by,
    rollout_of,
    rules_of,
    stable_of,
)
from llmlab.rollout.power import Usual, told
from llmlab.rollout.problems import Problem, problems
from llmlab.rollout.state import Kind, Rollout, Rules, Version
from llmlab.rollout.store import Rollouts


def lint(
    wish: Wish,
    lab: Lab,
    catalogue: Catalogue,
    known: Callable[[], Known],
    usual: Callable[[str], Usual] = lambda _: Usual(),
) -> list[Problem]:
    """All that is wrong, and what each step takes.

    Args:
        wish: without models, only the rules are looked at.
        known: what the running lab has. Raises UpstreamError if it does not run.
        usual: what a deployment's answers were like of late. Raises the same.
    """
    found: list[Problem] = []
    try:
        rules = rules_of(catalogue.config, wish)
        checked_by(wish.by)
    except LlmlabError as error:
        return [_error(error)]
    found += problems(rules, lab.root)
    if wish.models:
        found += _of_start(wish, lab, catalogue, known)
    planned, lately = _planned(wish.kind, rules), _usual(lab, known, usual, wish.route)
    costs = _costs(rules, known)
    return [*found, *told(planned, lately), *pairs_told(planned, lately), *costs]


def _costs(rules: Rules, known: Callable[[], Known]) -> list[Problem]:
    if not asks_judge(rules):
        return []
    try:
        return list(cost_told(rules, known()))
    except LlmlabError:
        return []  # as below


def _planned(kind: Kind, rules: Rules) -> Rollout:
    """One by these rules, of whatever."""
    nobody = Version("", "")
    return Rollout(0, kind, nobody, "", (nobody, nobody), "", rules)


def _usual(
    lab: Lab, known: Callable[[], Known], usual: Callable[[str], Usual], route: str
) -> Usual:
    try:
        return usual(stable_of(known(), Rollouts(lab).traffic(), route).deployment)
    except LlmlabError:
        return Usual()  # it does not run, which is said where it matters


def _of_start(
    wish: Wish, lab: Lab, catalogue: Catalogue, known: Callable[[], Known]
) -> list[Problem]:
    found: list[Problem] = []
    wanted = 2 if wish.kind is Kind.AB else 1
    if len(wish.models) != wanted:
        return [Problem("error", f"{wish.kind} takes {wanted} model{'s' * (wanted > 1)}")]
    rollouts = Rollouts(lab)
    if kept := rollouts.unfinished(wish.route):
        found.append(
            Problem("error", f"rollout {kept.rollout.number} is under way", "llmlab rollout status")
        )
    try:
        there = known()
        planned = rollout_of(wish, there, 1, rollouts.traffic(), rollouts.history(), time.time())
        refuse_unless_judged(planned, there)
        found += texts_told(planned, there)
    except UpstreamError as error:
        found += [_error(error), *_unknown(wish, catalogue)]
    except LlmlabError as error:
        found.append(_error(error))
    return found


def _unknown(wish: Wish, catalogue: Catalogue) -> list[Problem]:
    found = []
    for model in wish.models:
        try:
            catalogue.get(model)
        except LlmlabError as error:
            found.append(_error(error))
    return found


def _error(error: LlmlabError) -> Problem:
    return Problem("error", error.message, error.fix or "")
