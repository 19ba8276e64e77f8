"""False alarms in recorded traffic: a thousand rollouts of a version against itself.

What came in is drawn again in blocks of time, so that what was late or failed together still is;
and by subjects, each with all of its own. Which of them get the candidate is drawn anew in each.
"""

from __future__ import annotations

import json
import random
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.gate_traffic import KEPT, seen_of
from llmlab.rollout.made_texts import Row
from llmlab.rollout.seen import Seen
from llmlab.rollout.sequential import lower_bound, upper_bound
from llmlab.rollout.simulating import FEWEST_RECORDED, Run, simulate
from llmlab.rollout.state import Phase, Rules
from llmlab.rollout.worlds import CANDIDATE, STABLE

NAME = "recorded"
RUNS = 1000
BLOCK = 20  # seconds
BEFORE = 120.0  # seconds that the stable version has served
# Half of the requests from the first step on, and steps that end after five minutes: the more
# answers a candidate has, the more may be held against it.
SHAPE: Mapping[str, Any] = {
    "steps": (50.0, 100.0), "progress_deadline": 300.0, "bake": 60.0, "text_gate": "", "pairs": 0.0,
}  # fmt: skip


@dataclass
class Resampled:
    """The traffic of one rollout: an endless row of blocks."""

    seen: Sequence[Seen]
    chance: random.Random
    _waiting: deque[Seen] = field(default_factory=deque)
    _now: Seen | None = None

    def __post_init__(self) -> None:
        self._times = [one.at for one in self.seen]
        self._length = max(BLOCK, int(self._times[-1]))
        names = sorted({one.subject for one in self.seen})
        self._copies = Counter(self.chance.choices(names, k=len(names)))

    def arrivals(self, second: int) -> list[float]:
        """When what comes in this second does."""
        if second % BLOCK == 0:
            self._begin = self.chance.randrange(self._length)
        found = [
            replace(one, subject=f"{one.subject}.{number}", at=second + one.at % 1)
            for one in self._within((self._begin + second % BLOCK) % self._length)
            for number in range(self._copies[one.subject])
        ]
        self._waiting = deque(sorted(found, key=lambda one: one.at))
        return [one.at for one in self._waiting]

    def _within(self, second: int) -> Sequence[Seen]:
        return self.seen[bisect_left(self._times, second) : bisect_left(self._times, second + 1)]

    def subject(self) -> str:
        self._now = self._waiting.popleft()
        return self._now.subject

    def answer(self, subject: str, candidate: bool, at: float, since_last: float | None) -> Seen:
        assert self._now is not None
        return replace(self._now, deployment=(CANDIDATE if candidate else STABLE).deployment)

    def text(self) -> str:
        """A log has none."""
        return ""

    def pair(self, subject: str, text: str, at: float) -> None:
        """Nor what anybody made of it."""

    def rows(self) -> list[Row]:
        return []


def alike(seen: Sequence[Seen], rules: Rules, seed: int, number: int) -> Run:
    """One rollout of the stable version against itself."""
    chance = random.Random(f"recorded-{seed}-{number}")  # noqa: S311  it is to be repeatable
    traffic = Resampled(seen, chance)
    return simulate(rules, traffic, chance, before=BEFORE, arrivals=traffic.arrivals)


def measured(rules: Rules, seed: int, runs: int = RUNS, file: Path = KEPT) -> dict[str, Any]:
    """Of each route with enough requests, what became of so many rollouts."""
    told = json.loads(file.read_text(encoding="utf-8"))
    found = {}
    for route, rows in told["routes"].items():
        seen = seen_of(rows)
        if len(seen) < FEWEST_RECORDED:
            continue
        has_answers = any(one.answer for one in seen)
        gate = rules.answer_gate if has_answers else ""
        found[route] = _counted(seen, replace(rules, **SHAPE, answer_gate=gate), seed, runs)
    return {"date": told["date"], "routes": found}


def _counted(seen: Sequence[Seen], rules: Rules, seed: int, runs: int) -> dict[str, Any]:
    phases, answers = Counter[str](), 0
    for phase, of_candidate in _all(seen, rules, seed, runs):
        phases[phase] += 1
        answers += of_candidate
    return {
        "requests": len(seen), "subjects": len({one.subject for one in seen}),
        "seconds": seen[-1].at - seen[0].at, "errors": sum(one.error for one in seen),
        "judged": " ".join(filter(None, [rules.latency_gate, rules.answer_gate])), "runs": runs,
        "aborted": phases[Phase.ABORTING], "paused": phases[Phase.PAUSED],
        "promoted": phases[Phase.COMPLETING], "answers": answers / runs, "alpha": rules.alpha,
    }  # fmt: skip


def _all(seen: Sequence[Seen], rules: Rules, seed: int, runs: int) -> Iterator[tuple[str, int]]:
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        yield from pool.map(partial(_ended, seen, rules, seed), range(runs), chunksize=10)


def _ended(seen: Sequence[Seen], rules: Rules, seed: int, number: int) -> tuple[str, int]:
    one = alike(seen, rules, seed, number)
    return str(one.rollout.phase), one.answers


def section(measured: dict[str, Any]) -> list[str]:
    """For people."""
    steps = "-".join(f"{one:g}" for one in SHAPE["steps"])
    return [
        "## Recorded traffic, against itself", "",
        f"A lab of two models under `llmlab load` on {measured['date']}, a mix of clients on "
        "a busy "
        "machine, with rushes that it had no room for; `python -m benchmarks.gate --record` "
        "records "
        "anew. What its gateway logged (who, when, seconds, errors, how answers came and ended; no "
        f"texts) is drawn again in blocks of {BLOCK} s and by subjects, and judged by the "
        "very same "
        f"code, in steps of {steps} % that end after {SHAPE['progress_deadline']:g} s.", "",
        "| route | requests | subjects | errors | judged | rollouts | aborted (95 %) | paused | "
        "promoted | answers of the candidate |",
        "| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {route} | {one['requests']} | {one['subjects']} | {one['errors']} | errors, "
            f"{one['judged']} | {one['runs']} | {_rate(one)} | {_share(one, 'paused')} | "
            f"{_share(one, 'promoted')} | {one['answers']:.0f} |"
            for route, one in measured["routes"].items()
        ), "",
    ]  # fmt: skip


def promises(measured: dict[str, Any]) -> Iterator[tuple[bool, str]]:
    """Whether each is kept, and what it is: of so many, chance alone makes no more than that."""
    for route, one in measured["routes"].items():
        alpha, runs = one["alpha"], one["runs"]
        most = alpha + 2 * (alpha * (1 - alpha) / runs) ** 0.5
        rate = one["aborted"] / runs
        yield (
            rate <= most,
            f"recorded traffic of {route}: {100 * rate:.1f} % aborted, at most {100 * most:.1f} %",
        )


def _rate(one: Mapping[str, Any]) -> str:
    low, high = (100 * bound(one["aborted"], one["runs"]) for bound in (lower_bound, upper_bound))
    return f"{_share(one, 'aborted')} ({low:.1f} to {high:.1f})"


def _share(one: Mapping[str, Any], what: str) -> str:
    return f"{100 * one[what] / one['runs']:.1f} %"
