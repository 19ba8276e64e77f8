"""python -m benchmarks.gate: how often the gate of rollouts is wrong.

Five hundred rollouts in each of the worlds of ``llmlab.rollout.worlds``, by the rules that
configs/lab.toml is shipped with. Writes GATE.md and gate.json; ends with 1 if a promise is broken.
Nothing is timed, so a busy machine does no harm: it takes 90 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from llmlab.config import read_config
from llmlab.config.schema import Config
from llmlab.files import write_atomically
from llmlab.names import CHAT
from llmlab.rollout.planning import Wish, rules_of
from llmlab.rollout.simulating import Drill, in_worlds
from llmlab.rollout.state import Kind, Rules
from llmlab.rollout.worlds import EQUAL, WORSE

HERE = Path(__file__).parent
ROOT = HERE.parent
NOT_PROMOTED = ("+3 points of errors", "latency x 1.5")
MOST_PROMOTED = 0.05
ANSWERS = tuple(name for name, world in WORSE.items() if world.answers)
ABORTED = 0.95  # at least so many of those
CAUGHT, CAUGHT_WITHIN = "+10 points of errors", 120  # answers of the candidate, at the median
BREAKS = tuple(name for name, world in WORSE.items() if world.broken)
BREAK_WITHIN = 60.0  # seconds, at the median


def promises(found: Mapping[str, Drill], alpha: float) -> Iterator[tuple[bool, str]]:
    """Whether each is kept, and what it is."""
    for name in (one for one in EQUAL if one in found):
        one = found[name]
        most = alpha + 2 * math.sqrt(alpha * (1 - alpha) / one.runs)
        yield (
            one.rate <= most,
            f"{name}: {100 * one.rate:.1f} % aborted, at most {100 * most:.1f} %",
        )
    for name in NOT_PROMOTED:
        one = found[name]
        share = one.promoted / one.runs
        yield share <= MOST_PROMOTED, f"{name}: {100 * share:.1f} % promoted, at most 5 %"
    for name in (one for one in ANSWERS if one in found):
        share = found[name].aborted / found[name].runs
        yield share >= ABORTED, f"{name}: {100 * share:.1f} % aborted, at least 95 %"
    answers = found[CAUGHT].answers
    kept = answers is not None and answers <= CAUGHT_WITHIN
    yield kept, f"{CAUGHT}: given back after {_number(answers)} answers, at most {CAUGHT_WITHIN}"
    for name in BREAKS:
        seconds = found[name].reacted
        kept = seconds is not None and seconds <= BREAK_WITHIN
        yield kept, f"{name}: given back after {_number(seconds)} s, at most {BREAK_WITHIN:g}"


def report(found: Mapping[str, Drill], rules: Rules, runs: int, seed: int) -> str:
    steps = "-".join(f"{one:g}" for one in rules.steps)
    kept = [
        f"- {'kept' if one else '**broken**'}: {what}" for one, what in promises(found, rules.alpha)
    ]
    return "\n".join([
        "# The gates' figures: how often the gate is wrong", "",
        f"{runs} rollouts in each world, seed {seed}: steps {steps} % of {rules.interval:g} s at "
        f"least and {rules.progress_deadline:g} s at most, {rules.holdback:g} % held back, watched "
        f"for {rules.bake:g} s more; 10 requests/s; errors at most {100 * rules.error_margin:g} "
        f"point above, {rules.latency_gate}; where an API tells how answers come and end, also "
        f"{rules.answer_gate}; alpha {100 * rules.alpha:g} % over all of them together; texts "
        "are not judged. "
        "The stable version had served for ten minutes. `python -m benchmarks.gate` makes this "
        "file; the worlds are in `llmlab/rollout/worlds.py`.", "",
        "| two equal versions in a world with | aborted | paused | promoted | minutes |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {name} | {_shares(found[name])} | {found[name].minutes:.0f} |"
            for name in EQUAL if name in found
        ),
        "",
        "| a worse version | aborted | paused | promoted | answers | seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {name} | {_shares(found[name])} | {_number(found[name].answers)} | "
            f"{_number(found[name].reacted)} |"
            for name in WORSE if name in found
        ), "",
        "Answers of the candidate, and seconds since it broke, until it had less traffic than "
        "before, or none: medians of the rollouts in which that happened. Minutes: of a whole "
        "rollout, the median.", "",
        "## Promises", "", *kept, "",
    ])  # fmt: skip


def _shares(one: Drill) -> str:
    return " | ".join(
        f"{100 * count / one.runs:.1f} %" for count in (one.aborted, one.paused, one.promoted)
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__)
    parser.add_argument("--runs", type=int, default=500, help="rollouts in each world")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--to", type=Path, default=HERE, metavar="FOLDER", help="for the results")
    asked = parser.parse_args()
    config: Config = read_config(ROOT / "configs" / "lab.toml", environ={}).config
    rules, began = rules_of(config, Wish(Kind.CANARY, (), route=CHAT)), time.monotonic()
    found: dict[str, Drill] = {}
    for name, one in in_worlds(rules, EQUAL | WORSE, runs=asked.runs, seed=asked.seed):
        found[name] = one
        print(
            f"{time.monotonic() - began:6.0f} s  {name}: aborted, paused, promoted {_shares(one)}"
        )
    asked.to.mkdir(parents=True, exist_ok=True)
    told = report(found, rules, asked.runs, asked.seed)
    write_atomically(asked.to / "GATE.md", told)
    document = {
        "runs": asked.runs,
        "seed": asked.seed,
        "worlds": {k: asdict(v) for k, v in found.items()},
    }
    write_atomically(asked.to / "gate.json", json.dumps(document, indent=1) + "\n")
    broken = [what for kept, what in promises(found, rules.alpha) if not kept]
    print("\n".join([*(f"broken: {one}" for one in broken), str(asked.to / "GATE.md")]))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
