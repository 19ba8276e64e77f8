"""Judging what came of a round: by the answers of an API process, as a lab would serve it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from llmlab.answers import ask_all
from llmlab.answers.alone import settings_alone
from llmlab.answers.sources import LEAD, Manner, by_rule, without_a_lab
from llmlab.config import Config, Model
from llmlab.config.load import with_model
from llmlab.config.schema import TEXTRANK
from llmlab.evaluate.answer import Respondent
from llmlab.evaluate.evaluation import Evaluation, evaluate
from llmlab.evaluate.gate import Gate
from llmlab.evaluate.suite import Case, Suite
from llmlab.registry.catalogue import Catalogue
from llmlab.tune.data import Pairs
from llmlab.tune.split import digest_of, fingerprint

# Of a part of the data: more texts would make the interval a little narrower, and take longer.
MOST_TEXTS = 200
TOGETHER = 8  # texts that are asked for at a time, unless the gate is about seconds
EMBEDDED = "textrank"

Say = Callable[[str], None]


def part_as_suite(pairs: Pairs, role: str, cases: tuple[Case, ...]) -> Suite:
    """A part of the data as a suite: its first texts in the order of their hashes, which is
    as good as any and stays the same."""
    chosen = sorted(cases, key=lambda case: fingerprint(case.given))[:MOST_TEXTS]
    return Suite(f"{pairs.name}/{role}", tuple(chosen), digest_of(chosen))


@dataclass(frozen=True)
class Judge:
    """Asks models of a lab, and measures the answers.

    Args:
        baseline: a model of the lab or lead-3; "" for none.
        own: how the base is served, if it is the baseline and no model of the lab.
    """

    catalogue: Catalogue
    config: Config
    baseline: str
    own: Model | None
    seed: int
    say: Say

    def __call__(self, model: Model, suite: Suite, gate: Gate | None, name: str) -> Evaluation:
        """Judge a model that is no model of the lab yet, under a name."""
        config = with_model(self.config.model_copy(update={"models": {}}), name, model)
        models = [(config, name)]
        if self.baseline not in ("", LEAD):
            models.append(self._baseline())
        root = self.catalogue.registry.root
        found = _awaited(self._ask(models, root, suite, gate))
        theirs = found[1] if len(found) > 1 else None
        return evaluate(suite, found[0], theirs, gate=gate, seed=self.seed)

    def _baseline(self) -> tuple[Config, str]:
        if self.own:
            return with_model(self.config, "base-of-it", self.own), "base-of-it"
        if self.baseline == EMBEDDED and EMBEDDED not in self.config.models:
            return with_model(self.config, EMBEDDED, TEXTRANK), EMBEDDED
        config, (name,) = self.catalogue.with_models([self.baseline])
        return config, name

    async def _ask(
        self, models: list[tuple[Config, str]], root: Path, suite: Suite, gate: Gate | None
    ) -> list[Respondent]:
        settings = [settings_alone(config, name, root, self.say) for config, name in models]
        cases = {case.id: case for case in suite.cases}
        timed = gate is not None and any(one.metric.column == "latency" for one in gate.conditions)
        async with without_a_lab(settings, Manner(), self.say) as asked:
            rule = [by_rule()] if self.baseline == LEAD else []
            self.say(f"judging by {suite.name}: {len(cases)} texts")
            return await ask_all([*asked, *rule], cases, concurrency=1 if timed else TOGETHER)


def _awaited(answers: Coroutine[None, None, list[Respondent]]) -> list[Respondent]:
    """In a thread of its own: a notebook's has an event loop that runs already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, answers).result()
