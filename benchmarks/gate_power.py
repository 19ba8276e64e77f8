"""What it takes to find a worse candidate: beside a test that is looked at once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from benchmarks import fixed_horizon as fixed
from llmlab.rollout.judging import fail_levels
from llmlab.rollout.made_pairs import MadePairs
from llmlab.rollout.pairs import Pairs
from llmlab.rollout.simulating import simulate
from llmlab.rollout.speed import parse_speed
from llmlab.rollout.state import Rules
from llmlab.rollout.worlds import MadeUp, World

NAME = "power"
SHARE = 5.0  # percent of the requests for the candidate, for as long as it takes
MOST = 20_000.0  # seconds, after which nobody waits any more
RUNS = 40  # rollouts of each candidate
PAIRS = 4000  # at most
WATCHED = 60  # pairs, after which money is put on a change: about 60 s at one a second
PLANNED, IS = 0.10, 0.03  # points of errors that a test was planned for, and that there are
PEEKS, EACH = 60, 15  # looks, and answers of the candidate between two: half an hour at 0.5/s
PEEKERS = 20_000


@dataclass(frozen=True)
class Row:
    """One candidate.

    Args:
        what: is worse about it.
        level: of either test.
        n80, n95: answers of the candidate, or pairs, that the fixed test takes to find it with such
            a probability; None where it never does.
        found: our median.
        share80, share95: of ours that have found it by then.
        runs: of ours.
    """

    what: str
    level: float
    n80: int | None
    n95: int | None
    found: float | None
    share80: float
    share95: float
    runs: int


def measured(rules: Rules, seed: int, runs: int = RUNS) -> dict[str, Any]:
    """Everything, as plain data."""
    base = World()
    level = fail_levels(replace(rules, answer_gate="", pairs=0.0))
    strict = replace(
        rules, steps=(SHARE, 100.0), text_gate="", answer_gate="", interval=MOST,
        progress_deadline=MOST,
    )  # fmt: skip
    found = []
    others = 100 / SHARE - 1
    for more in (0.03, 0.05, 0.10, 0.20):
        ours = _ours(replace(strict, latency_gate=""), World(more_errors=more), runs, seed)
        one = fixed.of_shares(base.error_rate, more, rules.error_margin, others)
        found.append(_row(f"+{100 * more:g} points of errors", level.errors, one, ours))
    conditions = parse_speed(rules.latency_gate)
    for slower in (1.4, 1.5, 2.0):
        ours = _ours(strict, World(slower=slower, error_rate=0.0), runs, seed)
        own = level.latency / len(conditions)
        one = min(
            (
                fixed.of_slow(slower, each.ratio, base.spread, each.quantile)
                for each in conditions
            ),
            key=lambda each: each.needed(own, 0.8) or 10**9,
        )  # fmt: skip
        found.append(_row(f"latency x {slower:g}", own, one, ours))
    paired = fail_levels(replace(rules, answer_gate="", pairs=1.0)).pairs
    gate = Pairs.of(replace(rules, pairs=1.0)).bounds
    margin = next(one.margin for one in gate if one.measure == "unsupported")
    for more in (0.05, 0.10, 0.20):
        ours = [_pairs(rules, more, f"{seed}-{run}", paired / len(gate)) for run in range(runs)]
        one = fixed.of_pairs(MadePairs().invented, more, margin)
        found.append(_row(f"+{100 * more:g} points of pairs invent", paired / len(gate), one, ours))
    return {
        "rows": [asdict(one) for one in found], "share": SHARE,
        "peeking": fixed.peeking(
            base.error_rate, rules.error_margin, round(others), level.errors, looks=PEEKS,
            between=EACH, runs=PEEKERS, seed=seed,
        ),
        "once": fixed.peeking(
            base.error_rate, rules.error_margin, round(others), level.errors, looks=1,
            between=PEEKS * EACH, runs=PEEKERS, seed=seed,
        ),
        "level": level.errors,
        "wrongly": _wrongly(rules, level.errors, others),
        "by_ranks": fixed.by_ranks(1.5, conditions[0].ratio, base.spread,
                                   level.latency / len(conditions), 0.8, SHARE / 100),
    }  # fmt: skip


def _row(what: str, level: float, one: fixed.Difference, ours: Sequence[int | None]) -> Row:
    n80, n95 = one.needed(level, 0.8), one.needed(level, 0.95)
    known = [each if each is not None else 10**9 for each in ours]
    middle = median(known)

    def by(n: int | None) -> float:
        return sum(each <= (n or 0) for each in known) / len(known)

    return Row(
        what, level, n80, n95, middle if middle < 10**9 else None, by(n80), by(n95), len(known)
    )


def _ours(rules: Rules, world: World, runs: int, seed: int) -> list[int | None]:
    """Answers of the candidate until each is aborted."""
    found = []
    for number in range(runs):
        chance = random.Random(f"power-{seed}-{number}")  # noqa: S311  repeatable
        one = simulate(rules, MadeUp(world, chance), chance, rate=world.rate)
        found.append(one.answers if one.aborted else None)
    return found


def _pairs(rules: Rules, more: float, seed: str, level: float) -> int | None:
    """Pairs until that many more that invent are found."""
    chance, pairs = random.Random(f"pairs-{seed}"), Pairs.of(replace(rules, pairs=1.0))  # noqa: S311
    made = MadePairs(more_invented=more)
    for number in range(1, PAIRS + 1):
        pairs.add(made.values("s0", chance))
        if any(one.worse.reached(level) for one in pairs.bets.values()):
            return number
        if number % WATCHED == 0:
            pairs.watch_from_now()
    return None


def _wrongly(rules: Rules, level: float, others: float) -> dict[str, Any]:
    planned = fixed.of_shares(World().error_rate, PLANNED, rules.error_margin, others)
    really = fixed.of_shares(World().error_rate, IS, rules.error_margin, others)
    n = planned.needed(level, 0.95)
    assert n
    return {"planned": PLANNED, "is": IS, "n": n, "power": really.power(level, n)}


def section(measured: dict[str, Any]) -> list[str]:
    """For people."""
    rows, wrongly = [Row(**one) for one in measured["rows"]], measured["wrongly"]
    least = [one.share80 for one in rows]
    return [
        "## Beside a test that is looked at once", "",
        f"A candidate has {measured['share']:g} % of the requests until it is found; answers "
        "are its "
        "own, pairs are pairs. The fixed test is of two shares, of the share that is slower than a "
        "limit it knows beforehand, or of paired differences, at the same level and margin; "
        "how much "
        "worse the candidate is it knows too, and is looked at once, after the answers that "
        "it then "
        "takes to find it with 80 % or 95 %.", "",
        "| a worse version | level | fixed, 80 % | fixed, 95 % | ours, median | ours by the "
        "first | "
        "by the second |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {one.what} | {100 * one.level:.2g} % | {_n(one.n80)} | {_n(one.n95)} | "
            f"{_n(one.found)} | {100 * one.share80:.0f} % | {100 * one.share95:.0f} % |"
            for one in rows
        ), "",
        f"{rows[0].runs} rollouts of each. Mann-Whitney's test of latency x 1.5 would take "
        f"{_n(measured['by_ranks'])} answers for 80 %.", "",
        "- **Where ours is worse**: if it is known beforehand how bad the candidate is, the fixed "
        "test is surer at its own number of answers: where it has found 80 %, ours has found "
        f"{100 * min(least):.0f} to {100 * max(least):.0f} %. That is the price of being looked at "
        "all the time, and of stakes that are spread over all sizes. The numbers of the fixed test "
        "are normal approximations.",
        f"- **Where it is better**: nobody knows how bad a candidate is. A test planned for "
        f"{100 * wrongly['planned']:g} points more errors takes {wrongly['n']} answers, and finds "
        f"{100 * wrongly['is']:g} points with {100 * wrongly['power']:.0f} %; then it is over, and "
        "more answers may not be asked for. Ours goes on, and a far worse one is stopped far "
        "earlier "
        "than any plan says.",
        "- **Looked at again and again**, the fixed test fails more of the candidates that are "
        f"exactly as bad as allowed: {100 * measured['peeking']:.1f} % where that is after every "
        f"{EACH} answers for half an hour, {100 * measured['once']:.1f} % where it is once. Its "
        f"level is {100 * measured['level']:.2g} %.", "",
    ]  # fmt: skip


def _n(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
