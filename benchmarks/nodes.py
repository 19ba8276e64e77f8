"""python -m benchmarks.nodes: a lab with nodes (`llmlab up --engine ray`) whose machines die, what
its replicas do beside the local engine's, what mutual TLS costs, and 200 replicas. Writes NODES.md
and nodes.json.

Nodes are processes of this machine with addresses of their own on loopback. The verdict is in
counts and in ratios: how fast something happens here says little about other machines.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from benchmarks import node_deaths, node_links, node_many, node_speed
from benchmarks.node_deaths import Say
from benchmarks.nodes_page import markdown
from benchmarks.publishing import publish
from benchmarks.report import machine

HERE = Path(__file__).parent
DEATHS = {"nodes die": False, "nodes die, and the head": True}
PARTS = (*DEATHS, "speed", "links", "many")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nodes", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    others = f"of {', '.join(PARTS)}; the others stay as they were measured before"
    parser.add_argument("--only", choices=PARTS, action="append", metavar="PART", help=others)
    parser.add_argument("--to", type=Path, default=HERE, metavar="FOLDER", help="for the results")
    return parser.parse_args()


def main() -> None:
    options = parse()
    if not importlib.util.find_spec("ray"):
        sys.exit("Error: Ray is not installed\nFix: pip install 'llmlab[ray]'")
    for program, package in {"wrk": "wrk", "taskset": "util-linux"}.items():
        if not shutil.which(program):
            sys.exit(f"Error: {program} is not installed\nFix: apt-get install {package}")
    before = options.to / "nodes.json"
    parts = json.loads(before.read_text())["parts"] if options.only and before.exists() else {}

    def measure(folder: Path) -> dict[str, Any]:
        return measured(folder, options.only or PARTS, parts, quick=options.quick)

    publish("nodes", options.to, measure, markdown)


def measured(
    folder: Path, wanted: tuple[str, ...], before: dict[str, Any], *, quick: bool
) -> dict[str, Any]:
    begin = time.monotonic()
    folder.chmod(0o755)  # NGINX's workers are somebody else

    def say(line: str) -> None:
        print(f"{time.monotonic() - begin:6.0f} s  {line}", file=sys.stderr, flush=True)

    parts = dict(before)
    for name in PARTS:
        if name in wanted:
            say(name)
            parts[name] = part(lambda found=name: _measured(found, folder, say, quick=quick), quick)
    ordered = {name: parts[name] for name in PARTS if name in parts}
    return {
        "machine": machine(), "ray": importlib.metadata.version("ray"), "parts": ordered,
        "targets": [asdict(one) for name, found in ordered.items() for one in _judged(name, found)],
    }  # fmt: skip


def part(measure: Callable[[], dict[str, Any]], quick: bool) -> dict[str, Any]:
    """What one part has found, and when. Loads are the system's own: processes that want a core."""
    begin, before = time.monotonic(), psutil.getloadavg()[0]
    found = measure()
    return {
        "date": time.strftime("%Y-%m-%d %H:%M %Z"), "quick": quick,
        "load_before": round(before, 1), "load_after": round(psutil.getloadavg()[0], 1),
        "took": round(time.monotonic() - begin), **found,
    }  # fmt: skip


def _measured(name: str, folder: Path, say: Say, *, quick: bool) -> dict[str, Any]:
    if name in DEATHS:
        pace = node_deaths.QUICK if quick else node_deaths.FULL
        place = folder / f"d{int(DEATHS[name])}"
        return node_deaths.measured(place, say, pace, with_head=DEATHS[name])
    if name == "speed":
        return node_speed.measured(folder / "s", say, quick=quick)
    if name == "links":
        return node_links.measured(folder / "l", say, quick=quick)
    return node_many.measured(folder / "m", say)


def _judged(name: str, found: dict[str, Any]) -> list[Any]:
    if name in DEATHS:
        return node_deaths.judged(name, found)
    return node_speed.judged(found) if name == "speed" else []


if __name__ == "__main__":
    main()
