"""python -m benchmarks.machines: what becomes of requests when actors, raylets, nodes and the head
of a Ray cluster are killed. Writes MACHINES.md and machines.json.

A head and nodes are processes of this machine with addresses of their own on loopback. The
verdict is in counts: how fast something happens here says little about other machines.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.figures import percentile
from benchmarks.machine_deaths import WORKERS, Event, Story
from benchmarks.machines_page import markdown
from benchmarks.machines_without import forgetful, impatient, silent
from benchmarks.publishing import publish
from benchmarks.ray_bed import NEVER, REPLICAS, Asked, asked, bed, statuses
from benchmarks.ray_nodes import Cluster
from benchmarks.report import machine
from benchmarks.targets import Judgement

HERE = Path(__file__).parent
SPACE = 25.0  # seconds between what has come right and what goes wrong next
PATIENT_BY_ITSELF = 60.0  # seconds that Ray waits for a head unless it is told otherwise
AWAY = 80.0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.machines", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="of load")
    parser.add_argument("--quick", action="store_true", help="a smoke run of three minutes")
    parser.add_argument("--to", type=Path, default=HERE, metavar="FOLDER", help="for the results")
    return parser.parse_args()


def main() -> None:
    options = parse()
    if not importlib.util.find_spec("ray"):
        sys.exit("Error: Ray is not installed\nFix: pip install 'llmlab[ray]'")

    def measure(folder: Path) -> dict[str, Any]:
        return measured(folder, options.seconds, quick=options.quick)

    publish("machines", options.to, measure, markdown)


def measured(folder: Path, seconds: float, *, quick: bool) -> dict[str, Any]:
    begin = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begin:6.0f} s  {line}", file=sys.stderr, flush=True)

    def cluster(name: str) -> Cluster:
        (folder / name).mkdir()
        return Cluster(folder / name)

    space, away = (3.0, 10.0) if quick else (SPACE, AWAY)
    with bed(cluster("a"), WORKERS) as found:
        say("all replicas answer")
        with found.clients():
            story = Story(found, say, space, away)
            story.whole(0.0 if quick else seconds)
        requests = asked(found.asked, story.begin)
        nodes = Counter(address for address, alive in found.look()["nodes"] if alive)
    without = {} if quick else {
        "impatient": impatient(cluster("b"), 2 * PATIENT_BY_ITSELF, say),
        "forgetful": forgetful(cluster("c"), say),
        "silent": silent(cluster("d"), say),
    }  # fmt: skip
    return {
        "date": time.strftime("%Y-%m-%d %H:%M %Z"), "quick": quick, "machine": machine(),
        "ray": importlib.metadata.version("ray"), "seconds": round(time.monotonic() - begin),
        "away": away, "load": max(one.load for one in story.events),
        "requests": len(requests), "statuses": statuses(requests),
        "p50": percentile([one.took for one in requests], 50),
        "p99": percentile([one.took for one in requests], 99),
        "worst": max(one.took for one in requests),
        "events": [asdict(one) | meanwhile(story.events, one, requests) for one in story.events],
        "targets": [asdict(one) for one in judged(story.events, requests, nodes)],
        "without": without,
    }  # fmt: skip


def meanwhile(events: Sequence[Event], event: Event, requests: Sequence[Asked]) -> dict[str, Any]:
    """Of the requests between an event and the next: how many, and how many were lost."""
    later = [one.at for one in events if one.at > event.at]
    until = min(later, default=NEVER)
    among = [one for one in requests if event.at <= one.at < until]
    lost = [one for one in among if one.status != 200]
    return {"requests": len(among), "lost": len(lost), "why": sorted({one.why for one in lost}),
            "worst": max((one.took for one in among), default=0.0)}  # fmt: skip


def judged(
    events: Sequence[Event], requests: Sequence[Asked], nodes: Mapping[str, int]
) -> list[Judgement]:
    head = next(one for one in events if one.what.startswith("the head"))

    def just(what: str, wanted: float, found: float) -> Judgement:
        return Judgement(what, f"= {wanted:g}", found, found == wanted)

    lost = sum(one.status != 200 for one in requests)
    return [
        just("requests that got no answer, or another than 200", 0, lost),
        just("events that never came right", 0, sum(one.right is None for one in events)),
        just("replicas that answer while the head is away", REPLICAS,
             head.seen["answering_while_away"]),
        just("replicas that are the same processes after it", REPLICAS, head.seen["same"]),
        just("nodes that are listed as alive, in the end", WORKERS + 2, len(nodes)),
        just("of these, listed more than once", 0, sum(many > 1 for many in nodes.values())),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
