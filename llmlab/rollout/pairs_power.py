"""How many pairs it takes until a difference is seen, or none is known to be there, told before a
rollout begins: see ``power``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llmlab.rollout.evidence import SLICE
from llmlab.rollout.judging import fail_levels, pass_level
from llmlab.rollout.pairs_gate import Bound, parse_pairs_gate
from llmlab.rollout.power import NEVER, Usual, pairs, time_of
from llmlab.rollout.problems import Problem
from llmlab.rollout.state import Kind, Rollout

MORE = 0.10  # of the answers that are wrong beyond what is allowed: what is to be seen
DIFFER = 0.02  # of the pairs of two that are as good, in either direction


@dataclass(frozen=True)
class PairsNeed:
    """What a measure takes, in pairs; at least ``power.NEVER`` for more than there will ever be.

    Args:
        seen: until a candidate of which ``MORE`` than allowed goes wrong is aborted.
        passed: until one that is as good is known to be.
    """

    measure: str
    margin: float
    seen: float
    passed: float


def pairs_needs(rollout: Rollout) -> list[PairsNeed]:
    """Of all measures of its gate; none where nothing is paired, nor for ab, which nothing ends."""
    rules = rollout.rules
    paired = rules.pairs and rollout.kind is not Kind.AB
    bounds = parse_pairs_gate(rules.pairs_gate) if paired else ()
    level, needed = fail_levels(rules).pairs, pass_level(rollout)
    return [
        PairsNeed(one.measure, one.margin, _seen(one, level / len(bounds)), _passed(one, needed))
        for one in bounds
    ]


def _seen(bound: Bound, level: float) -> float:
    margin, wrong = bound.margin, min(1.0, bound.margin + MORE)
    outcomes = ((wrong, (1 - margin) / (1 + margin)), (1 - wrong, -margin / (1 + margin)))
    # Half of this wealth is kept for changes that come late: see ``sequential``.
    return pairs(outcomes, level / 2)


def _passed(bound: Bound, needed: float) -> float:
    margin, at_worst = bound.margin, max(1.0 - bound.margin, 0.5)
    outcomes = (
        (DIFFER, (margin - 1) / at_worst),
        (1 - 2 * DIFFER, margin / at_worst),
        (DIFFER, (margin + 1) / at_worst),
    )
    return pairs(outcomes, needed)


def pairs_told(rollout: Rollout, usual: Usual) -> Iterator[Problem]:
    """What the gate of pairs takes, as notes, and a warning where there will be too few."""
    found = pairs_needs(rollout)
    if not found:
        return
    points = f"{100 * MORE:g} points"
    yield Problem(
        "note", f"pairs until {points} more than allowed are seen: "
        + ", ".join(f"{one.measure} {_count(one.seen)}" for one in found)
        + "; until one that is as good is known to be: "
        + ", ".join(f"{one.measure} {_count(one.passed)}" for one in found),
    )  # fmt: skip
    rules = rollout.rules
    slowest = max(found, key=lambda one: one.seen)
    proof = max(found, key=lambda one: one.passed)
    for step in range(1, rollout.last_step + 1) if usual.rate else ():
        # A candidate that is not switched to yet has none of the traffic.
        percent = rollout.share_at(step) if rollout.kind is Kind.CANARY else 0.0
        rate = usual.rate * rules.pairs * (1 - percent / 100)
        name = f"step {step} ({percent:g} %)"
        yield Problem(
            "note", f"{name} has up to {rate:.2g} pairs a second, of each caller one in {SLICE:g} "
            f"s: {points} more are seen within {_within(slowest.seen, rate)}",
        )  # fmt: skip
        if rules.pairs_required and proof.passed / rate > rules.progress_deadline:
            yield Problem(
                "warning", f"{name} is not decided by its deadline: pairs {proof.measure} "
                f"{_count(proof.passed)} ({_within(proof.passed, rate)}), and it has "
                f"{time_of(rules.progress_deadline)}",
                "a larger share of pairs (--pairs), a wider bound (--pairs-gate), or "
                "rollout.pairs_required = false",
            )  # fmt: skip


def _count(pairs: float) -> str:
    return "more than there will ever be" if pairs >= NEVER else f"{pairs:,.0f}"


def _within(count: float, rate: float) -> str:
    return "no time" if count >= NEVER else time_of(count / rate)
