"""python -m benchmarks.gate: how often the gate of rollouts is wrong.

Two hundred rollouts in each of the worlds of ``llmlab.rollout.worlds`` and ``all_at_once``, by the
rules that configs/lab.toml is shipped with; a thousand of recorded traffic; and what a test that is
looked at once would have taken. Writes GATE.md and gate.json; ends with 1 if a promise is broken.
Nothing is timed, so a busy machine does no harm. It takes 40 minutes on two cores; what is done is
kept in benchmarks/work, so that it may be ended and begun again.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import gate_power, gate_recorded
from benchmarks.gate_runs import Kept, code, in_worlds, summed_up
from benchmarks.gate_traffic import record
from llmlab.config import read_config
from llmlab.config.schema import Config
from llmlab.files import write_atomically
from llmlab.names import CHAT
from llmlab.rollout.all_at_once import ALL_AT_ONCE, ALLOWED
from llmlab.rollout.pairs_gate import parse_pairs_gate
from llmlab.rollout.planning import Wish, rules_of
from llmlab.rollout.sequential import upper_bound
from llmlab.rollout.simulating import Drill
from llmlab.rollout.state import Kind, Rules
from llmlab.rollout.worlds import EQUAL, WORSE

HERE = Path(__file__).parent
ROOT = HERE.parent
WORLDS = EQUAL | ALL_AT_ONCE | ALLOWED | WORSE
TOGETHER = "all worlds of versions no worse than allowed, together"
EVERYTHING = "all worlds where everything is judged, together"
RUNS = 200
PARTS = (gate_recorded, gate_power)
NOT_PROMOTED = ("+3 points of errors", "latency x 1.5")
MOST_PROMOTED = 0.05
ANSWERS = tuple(name for name, world in WORSE.items() if world.answers)
ABORTED = 0.95  # at least so many of those
CAUGHT, CAUGHT_WITHIN = "+10 points of errors", 120  # answers of the candidate, at the median
BREAKS = tuple(name for name, world in WORSE.items() if world.broken)
BREAK_WITHIN = 60.0  # seconds, at the median


def rules_of_all(config: Config) -> Rules:
    """Those of a chat route, whose pairs are measured by what is asked of texts as well."""
    rules = rules_of(config, Wish(Kind.CANARY, (), route=CHAT))
    asked = {one.measure for one in parse_pairs_gate(config.rollout.pairs_gate)}
    more = [
        word
        for word in config.rollout.chat_pairs_gate.split()
        if not asked & {one.measure for one in parse_pairs_gate(word)}
    ]
    return replace(rules, pairs_gate=" ".join([config.rollout.pairs_gate, *more]))


def promises(found: Mapping[str, Drill], alpha: float) -> Iterator[tuple[bool, str]]:
    """Whether each is kept, and what it is."""
    alike = {name: found[name] for name in (*EQUAL, *ALL_AT_ONCE, *ALLOWED) if name in found}
    whole = [found[name] for name in ALL_AT_ONCE if name in found]
    pooled = {EVERYTHING: whole, TOGETHER: list(alike.values())}
    for name, several in pooled.items():
        if several:
            runs, aborted = sum(one.runs for one in several), sum(one.aborted for one in several)
            alike[name] = Drill(runs, aborted, 0, runs - aborted, alpha)
    for name, one in alike.items():
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


def report(
    found: Mapping[str, Drill], rules: Rules, runs: int, seed: int, further: Sequence[str] = ()
) -> str:
    """
    Args:
        further: sections, before the promises.
    """
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
        f"{rules.answer_gate}; alpha {100 * rules.alpha:g} % over all of them together. "
        "The stable version had served for ten minutes. `python -m benchmarks.gate` makes this "
        "file; the worlds are in `llmlab/rollout/worlds.py` and `all_at_once.py`. Of "
        f"{runs} rollouts of which none is aborted it is known that fewer than "
        f"{100 * upper_bound(0, runs):.1f} % are (95 %).", "",
        "| two equal versions in a world with | aborted | paused | promoted | minutes |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {name} | {_shares(found[name])} | {found[name].minutes:.0f} |"
            for name in EQUAL if name in found
        ),
        "",
        "Everything is judged at once: errors, latency, first tokens, gaps, what is cut off, "
        f"refused or invalid, pairs ({rules.pairs_gate}), and a suite of 41 texts "
        f"({rules.text_gate}), to which both say something else at each step.", "",
        "| two equal versions, all at once | aborted | paused | promoted | minutes |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {name.removeprefix('all at once, ')} | {_shares(found[name])} | "
            f"{found[name].minutes:.0f} |"
            for name in ALL_AT_ONCE if name in found
        ),
        "",
        "Alpha is about candidates that are *no worse than allowed*. Equal ones are far from that "
        "bound; these are on it:", "",
        "| exactly as bad as allowed | aborted | paused | promoted | minutes |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {name} | {_shares(found[name])} | {found[name].minutes:.0f} |"
            for name in ALLOWED if name in found
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
        *further,
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
    parser.add_argument("--runs", type=int, default=RUNS, help="rollouts in each world")
    parser.add_argument("--minutes", type=float, help="begin no further rollouts after so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--work", type=Path, default=HERE / "work", help="what is done is kept here"
    )
    parser.add_argument("--to", type=Path, default=HERE, metavar="FOLDER", help="for the results")
    parser.add_argument("--record", action="store_true", help="record traffic anew, of a real lab")
    asked = parser.parse_args()
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {what}", flush=True)

    if asked.record:
        say(record(asked.work))
        return 0
    config: Config = read_config(ROOT / "configs" / "lab.toml", environ={}).config
    rules = rules_of_all(config)
    asked.work.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Any] = {}
    for part in PARTS:
        parts[part.NAME] = _once(
            asked.work / f"gate-{part.NAME}.json",
            f"{code()} {rules} {asked.seed} {asked.runs}",
            partial(part.measured, rules, asked.seed, max(1, part.RUNS * asked.runs // RUNS)),
        )
        say(f"{part.NAME} is done")
    kept = Kept(asked.work / "gate-worlds.json", rules, asked.seed)

    def late() -> bool:
        return asked.minutes is not None and time.monotonic() - began > 60 * asked.minutes

    for done in in_worlds(rules, WORLDS, runs=asked.runs, seed=asked.seed, kept=kept, late=late):
        say(done)
    found = {name: summed_up(kept.found[name], rules.alpha) for name in WORLDS}
    runs = min(one.runs for one in found.values())
    asked.to.mkdir(parents=True, exist_ok=True)
    further = [line for part in PARTS for line in part.section(parts[part.NAME])]
    write_atomically(asked.to / "GATE.md", report(found, rules, runs, asked.seed, further))
    worlds = {name: asdict(one) for name, one in found.items()}
    document = {"runs": runs, "seed": asked.seed, "worlds": worlds, **parts}
    write_atomically(asked.to / "gate.json", json.dumps(document, indent=1) + "\n")
    kept_or_not = [
        *promises(found, rules.alpha), *gate_recorded.promises(parts[gate_recorded.NAME])
    ]  # fmt: skip
    broken = [what for one, what in kept_or_not if not one]
    print("\n".join([*(f"broken: {one}" for one in broken), str(asked.to / "GATE.md")]))
    return 1 if broken else 0


def _once(file: Path, key: str, measured: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was measured before by the very same code, or is now."""
    if file.is_file():
        told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if told["key"] == key:
            return dict(told["found"])
    found = measured()
    write_atomically(file, json.dumps({"key": key, "found": found}) + "\n")
    return found


if __name__ == "__main__":
    sys.exit(main())
