"""What is wrong with the rules of a rollout, before it begins."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmlab.errors import LlmlabError, UsageError
from llmlab.evaluate.gate import parse_gate
from llmlab.evaluate.statistics import most_likely_share
from llmlab.evaluate.suite import find_suite, load_suite
from llmlab.evaluate.verdict import MINIMUM, is_counted, room
from llmlab.rollout.answer_gate import parse_answer_gate
from llmlab.rollout.evidence import EQUAL
from llmlab.rollout.pairs_gate import parse_pairs_gate
from llmlab.rollout.speed import parse_speed
from llmlab.rollout.state import Rules

TELLING = 20  # texts, below which the permutation test rarely reaches the level of a fail
PASS_ALPHA = 0.10  # to pass, the 90 % interval lies within the bounds: a test at the level 5 %


@dataclass(frozen=True)
class Problem:
    """What is wrong with a planned rollout; an ``error`` keeps it from starting."""

    severity: str
    message: str
    fix: str = ""


def problems(rules: Rules, root: Path) -> Iterator[Problem]:
    """What is wrong with rules that can be read."""
    try:
        gate = parse_gate(rules.text_gate) if rules.text_gate else None
    except UsageError as error:
        yield Problem("error", f"rollout.text_gate: {error.message}", error.fix or "")
        gate = None
    cases = 0
    if gate or rules.probe_rate > 0:
        try:
            cases = len(load_suite(find_suite(rules.probe_suite, root)).cases)
        except LlmlabError as error:
            yield Problem("error", f"rollout.probe_suite: {error.message}", error.fix or "")
    if gate and 0 < cases < TELLING:
        shows = "decide nothing" if cases < MINIMUM else "show nothing but a disaster"
        yield Problem(
            "warning", f"{rules.probe_suite} has {cases} texts, and so few {shows}",
            "name a larger suite with probe_suite",
        )  # fmt: skip
    for one in gate.conditions if gate and cases >= TELLING else ():
        seen = 1 - PASS_ALPHA / 2
        least, left = most_likely_share(0, cases, 1 - seen), room(one)
        # One that asks for a better candidate may be met by it, whatever was not seen.
        if is_counted(one) and (0 if one.at_least else -1) <= left < least:
            takes = math.ceil(math.log(1 - seen) / math.log(1 - left)) if left > 0 else 0
            yield Problem(
                "warning", f"{one.text} cannot pass: of {cases} texts none may show what happens "
                f"in {100 * least:.0f} % of all",
                f"a suite of {takes} texts with probe_suite, or a wider bound" if takes
                else "a bound below 0" if one.at_least else "a bound above 0",
            )  # fmt: skip
    try:
        speed = parse_speed(rules.latency_gate)
    except UsageError as error:
        yield Problem("error", f"rollout.latency_gate: {error.message}", error.fix or "")
        speed = ()
    try:
        parse_pairs_gate(rules.pairs_gate)
    except UsageError as error:
        yield Problem("error", f"rollout.pairs_gate: {error.message}", error.fix or "")
    try:
        parse_answer_gate(rules.answer_gate)
    except UsageError as error:
        yield Problem("error", f"rollout.answer_gate: {error.message}", error.fix or "")
    if any(one.ratio for one in speed) and rules.steps[0] > EQUAL:
        yield Problem(
            "warning", f"no step gives the candidate {EQUAL:g} % or less, and above it has more "
            "load than the stable deployment: how its latency compares is not judged",
            "--steps 50,100",
        )  # fmt: skip
    if not gate:
        yield Problem(
            "warning", "rollout.text_gate is empty: no step looks at what the candidate writes"
        )
    if rules.on_inconclusive == "pause" and rules.interval == 0:
        yield Problem(
            "warning", "every step pauses at once: interval is 0 and on_inconclusive is pause"
        )
    if rules.steps[0] > 25 and len(rules.steps) > 1:
        yield Problem(
            "warning", f"the first step gives {rules.steps[0]:g} % to what nobody has tried"
        )


def refuse(rules: Rules, root: Path) -> None:
    """
    Raises:
        UsageError: these rules cannot work.
    """
    errors = [one for one in problems(rules, root) if one.severity == "error"]
    if errors:
        raise UsageError("\n".join(one.message for one in errors), fix=errors[0].fix or None)
