"""Pairs of which it is known what a judge should say: a good answer of a suite beside a damaged
one, and beside itself."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from llmlab.errors import UsageError
from llmlab.evaluate.checks import is_one_of
from llmlab.evaluate.suite import Case, Suite
from llmlab.judging.damage import DAMAGES
from llmlab.judging.question import task_of
from llmlab.judging.reading import Choice

IDENTICAL = "identical"  # a good answer beside itself: a tie
KINDS = (*DAMAGES, IDENTICAL)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to a task. Of a known pair, ``a`` is the good one.

    Args:
        id: of the case.
        kind: what was done to ``b``; "" of a pair of which nothing is known.
    """

    id: str
    task: str
    a: str
    b: str
    kind: str = ""

    @property
    def right(self) -> Choice:
        """What a judge should say of a known pair."""
        return Choice.TIE if self.kind == IDENTICAL else Choice.A


def good_answer(case: Case) -> str:
    """The reference of a case, or what it has to equal; "" where it has neither."""
    return case.reference or (case.checks.equals[0] if case.checks.equals else "")


def known_pairs(suite: Suite, most: int, seed: int) -> list[Pair]:
    """Pairs of a suite, as many of each kind as can be, each kind with cases of its own choice.

    Args:
        most: of them.
        seed: of which cases are taken.

    Raises:
        UsageError: the suite has no two good answers.
    """
    cases = [case for case in suite.cases if good_answer(case)]
    if len({good_answer(case) for case in cases}) < 2:
        raise UsageError(
            f"{suite.name} has {len(cases)} cases with a good answer (reference, or equals), and "
            "a judge is calibrated by good answers beside damaged ones",
            fix="--suite news, or write references into it",
        )
    draw = random.Random(seed)  # noqa: S311  which cases are taken is no secret
    by_kind = [_of_kind(kind, draw.sample(cases, len(cases))) for kind in KINDS]
    return list(islice(_in_turns(by_kind), most))


def _of_kind(kind: str, cases: Sequence[Case]) -> Iterator[Pair]:
    for at, case in enumerate(cases):
        good = good_answer(case)
        if kind == IDENTICAL:
            yield Pair(case.id, task_of(case), good, good, kind)
            continue
        other = good_answer(cases[at - 1])
        if is_one_of(case.checks.equals, other):  # "yes" is right more than once
            continue
        damaged = DAMAGES[kind](good, other)
        if damaged is not None:
            yield Pair(case.id, task_of(case), good, damaged, kind)


def _in_turns(several: Sequence[Iterator[Pair]]) -> Iterator[Pair]:
    """One of each, then the next of each, until all are at their end."""
    left = list(several)
    while left:
        for one in list(left):
            pair = next(one, None)
            if pair is None:
                left.remove(one)
            else:
                yield pair
