"""python -m benchmarks: measure, and write RESULTS.md and results.json."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from benchmarks import course, report
from benchmarks.course import Course, Key, Pace
from benchmarks.figures import Visit
from benchmarks.materials import prepare
from benchmarks.roster import Unavailable, chosen
from benchmarks.shapes import DECODINGS, SHAPES
from benchmarks.systems import Failed
from llmlab.runtimes.cores import usable_cores

HERE = Path(__file__).parent


def parse() -> argparse.Namespace:
    def names(value: str) -> list[str]:
        return [one.strip() for one in value.split(",") if one.strip()]

    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a smoke run of 3 minutes: one decoding, one short round",
    )
    parser.add_argument("--only", type=names, default=[], metavar="a,f,g", help="these systems")
    parser.add_argument("--without", type=names, default=[], metavar="ray", help="not these")
    parser.add_argument("--decoding", choices=list(DECODINGS), help="only this one")
    parser.add_argument("--concurrency", type=names, metavar="1,32", help="only these")
    parser.add_argument("--minutes", type=float, help="for the measurements, all together")
    parser.add_argument("--rounds", type=int, help="at most")
    parser.add_argument("--checkpoint", type=Path, metavar="FOLDER", help="a real model")
    parser.add_argument("--shape", choices=list(SHAPES), default="small", help="without one")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="models are kept here")
    parser.add_argument("--to", type=Path, default=HERE, metavar="FOLDER", help="for the results")
    return parser.parse_args()


def pace_of(options: argparse.Namespace) -> Pace:
    pace = course.QUICK if options.quick else course.FULL
    clients = [int(one) for one in options.concurrency or pace.seconds]
    return Pace(
        {one: pace.seconds[one] for one in clients},
        options.minutes or pace.minutes,
        options.rounds or pace.rounds,
        pace.slow,
    )


def main() -> None:
    options = parse()
    # So that a run that is ended ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        measure(options)
    except (Unavailable, Failed) as error:
        sys.exit(f"Error: {error}")


def measure(options: argparse.Namespace) -> None:
    begin = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begin:6.0f} s  {line}", file=sys.stderr, flush=True)

    entries = chosen(options.only, options.without)
    shape, pace = SHAPES[options.shape], pace_of(options)
    options.work.mkdir(parents=True, exist_ok=True)
    decodings = [options.decoding] if options.decoding else list(DECODINGS)
    if options.quick and not options.decoding:
        decodings = decodings[-1:]
    materials = [
        prepare(options.work.resolve(), shape, options.checkpoint, one) for one in decodings
    ]
    say("the models are there")
    os.environ["LLMLAB_HOME"] = str(options.work.resolve() / "home")
    visits: dict[Key, list[Visit]] = {}
    left = 60 * pace.minutes
    for place, material in enumerate(materials):
        one = Course(entries, material, shape, pace, usable_cores(), 1, say)
        started = time.monotonic()
        one.run(left / 60 / (len(materials) - place))
        left -= time.monotonic() - started
        visits |= one.visits
    document = report.document(entries, visits, shape, options, time.monotonic() - begin)
    for file in report.write(document, options.to):
        print(file)


if __name__ == "__main__":
    main()
