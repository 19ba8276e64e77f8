"""Rounds of tuning and judging, until a gate passes, the rounds are used up, or the time is.

Rounds are judged by the validation part alone. The last test is made once, with the model that
passed there: a test that decides when to stop is no test any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmlab.tune.result import Outcome, Round

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Ending:
    """How the rounds ended; ``test`` is None if the last test was not made."""

    outcome: Outcome
    reason: str
    rounds: tuple[Round, ...]
    test: Facts | None


def go_on(
    done: Sequence[Round],
    *,
    most: int,
    gated: bool,
    play: Callable[[int], Round],
    test: Callable[[Round], Facts | None],
    is_over: Callable[[], bool],
) -> Ending:
    """Play rounds from where an earlier call stopped.

    Args:
        done: the rounds that were played.
        most: rounds; without a gate there is one.
        play: trains and judges the round of that number.
        test: makes the last test with what a round gave; None if there is nothing to test by.
        is_over: whether the budget is used up.
    """
    rounds = list(done)
    while True:
        if rounds:
            last = rounds[-1]
            if not gated:
                return Ending(Outcome.TUNED, _tuned(last), tuple(rounds), test(last))
            if last.verdict == "pass":
                return _tested(rounds, test(last))
            if last.trained.out_of_time or is_over():
                return Ending(Outcome.OUT_OF_BUDGET, _not_yet(last, "the budget is used up"),
                              tuple(rounds), None)  # fmt: skip
            if len(rounds) >= most:
                outcome = Outcome.REJECTED if last.verdict == "fail" else Outcome.INCONCLUSIVE
                used = "1 round is used up" if most == 1 else f"all {most} rounds are used up"
                return Ending(outcome, _not_yet(last, used), tuple(rounds), None)
        rounds.append(play(len(rounds) + 1))


def _tested(rounds: Sequence[Round], facts: Facts | None) -> Ending:
    if facts is None:
        reason = f"validation {_why(rounds[-1].validation)}; there was nothing to test it by"
        return Ending(Outcome.INCONCLUSIVE, reason, tuple(rounds), None)
    outcome = {
        "pass": Outcome.ACCEPTED, "fail": Outcome.REJECTED,
        "inconclusive": Outcome.INCONCLUSIVE,
    }[facts["verdict"]["outcome"]]  # fmt: skip
    return Ending(outcome, f"the last test, {facts['suite']}: {_why(facts)}", tuple(rounds), facts)


def _tuned(last: Round) -> str:
    ended = "its budget was used up" if last.trained.out_of_time else f"{last.trained.steps} steps"
    return f"without --until there is no gate; it ended after {ended}"


def _not_yet(last: Round, why: str) -> str:
    return f"{why}, and validation says {_why(last.validation)}"


def _why(facts: Facts) -> str:
    return str(facts["verdict"]["reason"])
