"""Many rollouts in each of many worlds, a few of each at a time: whoever ends it early has as many
of each. What is done is kept in a file, and is not done again by the very same code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from llmlab.files import write_atomically
from llmlab.rollout.simulating import Drill, run_in
from llmlab.rollout.state import Rules
from llmlab.rollout.worlds import World

ROLLOUT = Path(__file__).parent.parent / "llmlab" / "rollout"
AT_ONCE = 10  # rollouts of a world, until it is another one's turn


@dataclass(frozen=True)
class Ended:
    """How a rollout ended; as ``Run`` has it, and no more than is counted.

    Args:
        phase: aborting, paused or completing.
        why: it was aborted; "" where it was not.
    """

    phase: str
    seconds: float
    answers: int
    given_back: int | None
    reacted: float | None
    why: str


def run(world: World, rules: Rules, seed: int, number: int) -> Ended:
    one = run_in(world, rules, seed, number)
    why = one.rollout.ending if one.aborted else ""
    return Ended(
        str(one.rollout.phase), one.seconds, one.answers, one.given_back, one.reacted, why
    )  # fmt: skip


def summed_up(found: list[Ended], alpha: float) -> Drill:
    aborted = [one for one in found if one.phase == "aborting"]
    return Drill(
        len(found), len(aborted), sum(one.phase == "completing" for one in found),
        sum(one.phase == "paused" for one in found), alpha, tuple(one.why for one in aborted[:3]),
        _median([one.given_back for one in found]), _median([one.reacted for one in found]),
        median(one.seconds for one in found) / 60,
    )  # fmt: skip


def _median(values: list[int | None] | list[float | None]) -> float | None:
    known = [one for one in values if one is not None]
    return median(known) if known else None


class Kept:
    """What is done, in a file; nothing of what other code, rules or seeds have made."""

    def __init__(self, file: Path, rules: Rules, seed: int) -> None:
        self._file, self._key = file, f"{code()} {seed} {rules}"
        self.found: dict[str, list[Ended]] = {}
        if file.is_file():
            told = json.loads(file.read_text(encoding="utf-8"))
            if told["key"] == self._key:
                self.found = {
                    name: [Ended(*one) for one in runs] for name, runs in told["found"].items()
                }

    def save(self) -> None:
        found = {
            name: [[*asdict(one).values()] for one in runs] for name, runs in self.found.items()
        }
        write_atomically(self._file, json.dumps({"key": self._key, "found": found}) + "\n")


def code() -> str:
    files = sorted(ROLLOUT.glob("*.py"))
    return hashlib.sha256(b"".join(one.read_bytes() for one in files)).hexdigest()


def in_worlds(
    rules: Rules, worlds: Mapping[str, World], *, runs: int, seed: int, kept: Kept,
    late: Callable[[], bool] = lambda: False,
) -> Iterator[str]:  # fmt: skip
    """So many rollouts in each, on all cores. Says what it has done.

    Args:
        kept: takes them.
        late: asked before each pass through the worlds; then it ends with what it has.
    """
    # Forked, a child would have the locks of another thread.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for upto in range(AT_ONCE, runs + AT_ONCE, AT_ONCE):
            if late():
                return
            waiting = {
                name: [
                    pool.submit(run, world, rules, seed, number)
                    for number in range(len(kept.found.get(name, ())), min(upto, runs))
                ]
                for name, world in worlds.items()
            }
            for name, futures in waiting.items():
                kept.found.setdefault(name, []).extend(one.result() for one in futures)
                if futures:
                    kept.save()
            yield f"{min(upto, runs)} of {runs} rollouts in each of {len(worlds)} worlds"
