"""python -m benchmarks.overload: three times as many requests as llmlab can answer.

An open loop sends them, for it does not slow down with what it asks, and checks the health
all the while. Writes OVERLOAD.md and overload.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.figures import MEGABYTE, percentile, texts_between
from benchmarks.load import Job, Result
from benchmarks.materials import prepare
from benchmarks.report import digits, machine
from benchmarks.roster import Entry, chosen
from benchmarks.shapes import DECODINGS, IN_WORDS, SHAPES
from benchmarks.systems import Failed, Setting, System
from benchmarks.targets import Judgement
from benchmarks.usage import Meter, Usage
from llmlab.files import write_atomically
from llmlab.runtimes.cores import usable_cores

HERE = Path(__file__).parent
TIMES = 3.0
CLIENTS = 32  # that measure the capacity
SETTLED = 0.25  # of the time: then the queue is full, and counting begins
PATIENT = 150.0  # seconds; longer than service.timeout, so that nobody gives up before it
HEALTH = {"g": "/health/ready", "h": "/health"}


@dataclass(frozen=True)
class Outcome:
    """What one system made of it. Rates in texts/s, times in seconds, memory in MB.

    Args:
        statuses: {HTTP status, 0 for no answer: how many requests}.
        no_retry_after: rejected requests that were not told when to come back.
        memory: {"before", "settled", "end"}: the most of the first moment, of the middle of
            the time, and of its last third.
    """

    capacity: float
    offered: float
    goodput: float
    statuses: Mapping[int, int]
    no_retry_after: int
    rejected_p50: float
    rejected_p99: float
    answered_p50: float
    answered_p95: float
    health_worst: float
    memory: Mapping[str, float]

    def judged(self) -> list[Judgement]:
        """The targets."""
        other = sum(many for status, many in self.statuses.items() if status not in (200, 429))
        growth = self.memory["end"] / self.memory["settled"]
        return [
            _at_least("goodput / capacity", self.goodput / self.capacity, 0.9),
            _at_most("rejected without Retry-After", self.no_retry_after, 0),
            _at_most("seconds to a 429, p99", self.rejected_p99, 0.05),
            _at_most("requests that got neither 200 nor 429", other, 0),
            _at_most("memory at the end / in the middle", growth, 1.05),
            _at_most("seconds of the slowest health check", self.health_worst, 0.1),
        ]


def outcome(capacity: float, rate: float, result: Result, usage: Usage) -> Outcome:
    """The figures of one open loop."""
    begin = result.begin + SETTLED * (result.until - result.begin)
    answered = [s.end - s.start for s in result.shots if s.status == 200 and s.end > begin]
    rejected = [s.end - s.start for s in result.shots if s.status == 429]
    statuses = {s.status for s in result.shots}
    return Outcome(
        capacity=capacity,
        offered=rate,
        goodput=texts_between(result.shots, begin, result.until) / (result.until - begin),
        statuses={one: sum(s.status == one for s in result.shots) for one in sorted(statuses)},
        no_retry_after=sum(s.status == 429 and s.retry_after < 1 for s in result.shots),
        rejected_p50=percentile(rejected, 50) if rejected else 0.0,
        rejected_p99=percentile(rejected, 99) if rejected else 0.0,
        answered_p50=percentile(answered, 50),
        answered_p95=percentile(answered, 95),
        health_worst=max(result.health),
        memory=_memory(result, usage),
    )


def _memory(result: Result, usage: Usage) -> dict[str, float]:
    third = (result.until - result.begin) / 3

    def most(begin: float, until: float) -> float:
        found = [
            size
            for moment, size in zip(usage.moments, usage.resident, strict=True)
            if begin <= moment <= until
        ]
        return max(found) / MEGABYTE

    return {
        "before": usage.resident[0] / MEGABYTE,
        "settled": most(result.begin + third, result.until - third),
        "end": most(result.until - third, result.until + third),
    }


def _at_least(what: str, found: float, least: float) -> Judgement:
    return Judgement(what, f"≥ {least:g}", found, found >= least)


def _at_most(what: str, found: float, most: float) -> Judgement:
    return Judgement(what, f"≤ {most:g}", found, found <= most)


# --- measuring -------------------------------------------------------------------


def measure(entry: Entry, setting: Setting, job: Job, shape: Any, say: Any) -> Outcome:
    """Find what a system can do, ask it for three times that, and end it."""
    system: System = entry.make(setting, shape)
    try:
        system.start()
        seconds = job.seconds
        closed = replace(job, concurrency=CLIENTS, seconds=max(3.0, seconds / 4))
        calm = system.ask(closed)
        capacity = texts_between(calm.shots, calm.begin, calm.until) / (calm.until - calm.begin)
        say(f"({entry.letter}) {entry.name}: {capacity:.2f} texts/s; now {TIMES:g} times that")
        flood = replace(
            job, rate=TIMES * capacity, first=10_000_000, timeout=PATIENT,
            health=HEALTH[entry.letter],
        )  # fmt: skip
        with Meter(system.roots) as usage:
            result = system.ask(flood)
        return outcome(capacity, TIMES * capacity, result, usage)
    finally:
        system.stop()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of overload, each")
    parser.add_argument("--only", choices=list(HEALTH), help="service or gateway")
    parser.add_argument("--decoding", choices=list(DECODINGS), default="beams")
    parser.add_argument("--checkpoint", type=Path, metavar="FOLDER", help="a real model")
    parser.add_argument("--shape", choices=list(SHAPES), default="small", help="without one")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="models are kept here")
    parser.add_argument("--to", type=Path, default=HERE, metavar="FOLDER", help="for the results")
    return parser.parse_args()


def main() -> None:
    options = parse()
    # So that a run that is ended ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    begin = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begin:6.0f} s  {line}", file=sys.stderr, flush=True)

    shape = SHAPES[options.shape]
    options.work.mkdir(parents=True, exist_ok=True)
    material = prepare(options.work.resolve(), shape, options.checkpoint, options.decoding)
    # Short, for the paths of unix sockets; private, for a lab's keys.
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir="/tmp"))
    setting = Setting(material, shape.longest, usable_cores(), 1, folder)
    job = Job(
        str(material.words), material.words_of_a_text, shape.read, shape.longest,
        seconds=options.seconds,
    )  # fmt: skip
    entries = chosen([options.only] if options.only else list(HEALTH), [])
    try:
        found = {entry.letter: measure(entry, setting, job, shape, say) for entry in entries}
    except Failed as error:
        sys.exit(f"Error: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for file in write(found, entries, options):
        print(file)


# --- the documents ---------------------------------------------------------------


def write(
    found: Mapping[str, Outcome], entries: list[Entry], options: argparse.Namespace
) -> list[Path]:
    """OVERLOAD.md and overload.json."""
    names = {entry.letter: entry.name for entry in entries}
    what = {
        "date": time.strftime("%Y-%m-%d %H:%M %Z"), "machine": machine(),
        "seconds": options.seconds, "decoding": options.decoding,
    }  # fmt: skip
    outcomes = {letter: asdict(one) for letter, one in found.items()}
    options.to.mkdir(parents=True, exist_ok=True)
    files = [options.to / "overload.json", options.to / "OVERLOAD.md"]
    write_atomically(files[0], json.dumps(what | {"systems": outcomes}, indent=1) + "\n")
    parts = [_head(what), *(_section(names[letter], one) for letter, one in found.items())]
    write_atomically(files[1], "\n".join(parts))
    return files


def _head(what: Mapping[str, Any]) -> str:
    where = what["machine"]
    return f"""# Under overload: {TIMES:g} times the load that it can answer

{what["date"]}; `make bench-overload`. {where["processor"]}, {where["cores"]} cores,
{where["memory_gb"]:g} GB. T5-small's shape, {IN_WORDS[what["decoding"]]}; an open loop for
{what["seconds"]:g} s. Capacity is what {CLIENTS} clients got just before. Latency counts from
the moment at which a request should have been sent.
"""


def _section(name: str, one: Outcome) -> str:
    statuses = ", ".join(f"{many} × {status}" for status, many in one.statuses.items())
    memory = ", ".join(f"{when} {digits(size)}" for when, size in one.memory.items())
    rows = [
        f"| {each.what} | {each.wanted} | {digits(each.found)} | "
        f"{'met' if each.met else '**missed**'} |"
        for each in one.judged()
    ]
    return "\n".join([
        f"## {name}\n",
        f"Capacity {digits(one.capacity)} texts/s, offered {digits(one.offered)}, answered "
        f"{digits(one.goodput)}. {statuses}. An answer took {digits(one.answered_p50)} s (p50), "
        f"{digits(one.answered_p95)} s (p95); a 429 {1000 * one.rejected_p50:.1f} ms (p50), "
        f"{1000 * one.rejected_p99:.1f} ms (p99). Memory in MB: {memory}.\n",
        "| | wanted | found | |", "| --- | --- | ---: | --- |", *rows, "",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
