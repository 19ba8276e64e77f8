"""What the judge of a rollout may cost, and who elsewhere reads what clients send because of its
pairs, told before it begins."""

from __future__ import annotations

from collections.abc import Iterator

from llmlab.config.budgets import Budget
from llmlab.judging.allowed import deployment_of
from llmlab.rollout.judge_asking import SUBJECT
from llmlab.rollout.judge_evidence import LONGEST
from llmlab.rollout.judged_pairs import asks_judge
from llmlab.rollout.planning import Known
from llmlab.rollout.problems import Problem
from llmlab.rollout.state import Rollout, Rules, Version
from llmlab.service.settings import Settings

PER_TOKEN = 4  # characters, roughly


def cost_told(rules: Rules, known: Known) -> Iterator[Problem]:
    """At most, as a note, and a warning where it has a price and nothing limits it; nothing where
    no judge is asked, or none is there, which is said elsewhere."""
    judge = _judge(rules, known)
    if judge is None:
        return
    questions, price = 2 * rules.judge_rate, judge.model.price
    read, written = questions * LONGEST / PER_TOKEN, questions * known.config.judge.max_tokens
    money = (read * price.input + written * price.output) / 1e6
    paid = f", {money:.2g} by its price" if money else ""
    yield Problem(
        "note", f"the judge {judge.deployment} is asked {questions:g} questions a minute at most, "
        f"each of up to {LONGEST:,} characters beside its rubric: some {read:,.0f} tokens read and "
        f"{written:,.0f} written{paid}",
    )  # fmt: skip
    if money and not any(_limits(one) for one in known.config.budgets):
        yield Problem(
            "warning", f"the judge {judge.deployment} has a price, and no budget holds for the "
            f"subject {SUBJECT}, by which it is asked",
            f'[[budgets]] with who = ["{SUBJECT}"] and money_per_month in lab.toml, or a smaller '
            "rollout.judge_rate",
        )  # fmt: skip


def _limits(budget: Budget) -> bool:
    """Whether it refuses the judge's questions at some time. Their token has no claim but its
    subject; those without a claim share the budget of all who have none."""
    of_subject = budget.by in ("subject", "claim:sub")
    return not budget.shadow and (not budget.who or (of_subject and SUBJECT in budget.who))


def texts_told(rollout: Rollout, known: Known) -> Iterator[Problem]:
    """Notes of who elsewhere reads what clients send to a stable version that is here."""
    if not rollout.rules.pairs or _is_elsewhere(rollout.base, known):
        return
    candidate, judge = rollout.candidate, _judge(rollout.rules, known)
    readers = [candidate.deployment] if _is_elsewhere(candidate, known) else []
    if judge and judge.model.runtime == "openai":
        readers.append(f"the judge {judge.deployment}")
    for reader in readers:
        yield Problem(
            "note", f"{reader} is a model elsewhere, and {rollout.base.deployment} is not: for "
            f"the pairs, what clients send to {rollout.route} leaves this lab",
        )  # fmt: skip


def _judge(rules: Rules, known: Known) -> Settings | None:
    if not asks_judge(rules):
        return None
    plan = known.plan
    name = deployment_of(known.config.judge.model, known.catalogue, plan)
    if name not in plan.names and name in plan.routes:
        name = plan.leading(name)
    return next((one for one in plan.deployments if one.deployment == name), None)


def _is_elsewhere(version: Version, known: Known) -> bool:
    found = known.catalogue.find(version.model)
    return found is not None and found.model.runtime == "openai"
