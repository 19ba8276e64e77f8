"""python -m benchmarks.console: what open consoles cost a lab, and whether one that is left open
leaks. Writes CONSOLE.md and console.json.

One lab with a canary under way. Its requests/s are measured in pairs, with consoles open and
without: so a machine that is slower for a while is so for both. The load generator is wrk:
https://github.com/wg/wrk
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.figures import MEGABYTE
from benchmarks.lab import command
from benchmarks.publishing import publish
from benchmarks.report import digits, machine
from benchmarks.systems import Failed, free_port
from benchmarks.targets import Judgement
from benchmarks.usage import Meter
from benchmarks.watching import Sent, Watch, watching
from llmlab.console import menu
from llmlab.console.pages import PREFIX
from llmlab.lab import CONFIG, Lab, init_lab
from llmlab.processes import lab_processes

HERE = Path(__file__).parent
CONSOLES, CLIENTS = 50, 32
LEAST = 0.95  # of the requests/s without consoles
MOST = 1.05  # times the memory, after the first fifth of the time
LIVES = 20.0  # seconds of each console while memory is watched
TEXT = "A lamp stands on the rock, and the ships that pass by at night see it from afar. " * 6
LAB = """\
engine = "local"
deploy = ["next"]

[routes]
summarize = "textrank"
chat = ""

[gateway]
port = {port}

[gateway.rate_limit]
enabled = false

[console]
enabled = "on"

[models.textrank]
runtime = "extractive"
source = "embedded:textrank"

[models.next]
runtime = "extractive"
source = "embedded:textrank"
"""
SCRIPT = """\
wrk.method = "POST"
wrk.body = [==[{body}]==]
wrk.headers["Authorization"] = "Bearer {token}"
wrk.headers["Content-Type"] = "application/json"
"""


@dataclass(frozen=True)
class Turn:
    """Of some seconds: requests/s of the lab, and the console's CPU as a share of a core."""

    rate: float
    cpu: float


@dataclass(frozen=True)
class Pair:
    """One turn with consoles and one without, right after each other."""

    watched: Turn
    alone: Turn

    @property
    def ratio(self) -> float:
        return self.watched.rate / self.alone.rate


@dataclass(frozen=True)
class Kept:
    """Memory of the console's process in MB: of the second fifth of the time, and of the last."""

    begin: float
    end: float
    minutes: float
    opened: int
    events: int

    @property
    def ratio(self) -> float:
        return self.end / self.begin


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.console", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run of two minutes")
    parser.add_argument("--to", type=Path, default=HERE, metavar="FOLDER", help="for the results")
    return parser.parse_args()


def main() -> None:
    options = parse()
    if not shutil.which("wrk"):
        sys.exit("Error: wrk is not installed\nFix: apt-get install wrk")
    publish("console", options.to, lambda folder: measured(folder, quick=options.quick), markdown)


def measured(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Everything that was measured, and where."""
    begin = time.monotonic()
    rounds, seconds, minutes = (2, 4, 0.5) if quick else (15, 8, 10.0)
    with running(folder / "lab") as lab:
        watch = Watch(port_of(lab), streams(), tokens(lab), CONSOLES)
        script = folder / "ask.lua"
        script.touch(0o600)
        token = command(lab, "token", "--sub", "bench", "--ttl", "6h").strip()
        script.write_text(SCRIPT.format(body=json.dumps({"text": TEXT}), token=token))
        turn(lab, script, 2)  # connections and caches
        pairs = []
        for number in range(rounds):
            pairs.append(pair(lab, script, watch, seconds, watched_first=number % 2 == 0))
            _say(begin, f"round {number + 1}: {pairs[-1].ratio:.3f}")
        idle = resting(lab, watch, 5 if quick else 30)
        kept = keeping(lab, watch, minutes)
        _say(begin, f"{kept.begin:.1f} MB, then {kept.end:.1f} MB")
    return {
        "date": time.strftime("%Y-%m-%d %H:%M %Z"), "quick": quick, "machine": machine(),
        "seconds": round(time.monotonic() - begin), "streams": list(watch.paths),
        "pairs": [asdict(one) for one in pairs], "idle": idle, "kept": asdict(kept),
        "targets": [asdict(one) for one in judged(pairs, kept)],
    }  # fmt: skip


def judged(pairs: Sequence[Pair], kept: Kept) -> list[Judgement]:
    ratio = median(one.ratio for one in pairs)
    return [
        Judgement(f"requests/s with {CONSOLES} consoles open beside those with none",
                  f"≥ {LEAST:g}", ratio, ratio >= LEAST),
        Judgement("memory of the console at the end, beside that after the first fifth",
                  f"≤ {MOST:g}", kept.ratio, kept.ratio <= MOST),
    ]  # fmt: skip


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Of the median, with 95 % or more, whatever they are spread like: by their order. With fewer
    than six values, the lowest and the highest."""
    ordered, count = sorted(values), len(values)
    outside, tail = 0, 0.0  # how many of them may be below a median, and how rarely
    while tail + math.comb(count, outside) / 2**count <= 0.025:
        tail += math.comb(count, outside) / 2**count
        outside += 1
    lowest = max(0, outside - 1)
    return ordered[lowest], ordered[count - 1 - lowest]


# --- what runs ----------------------------------------------------------------------


@contextmanager
def running(root: Path) -> Iterator[Lab]:
    """A lab with a canary under way, which waits for somebody."""
    lab = Lab(root)
    root.mkdir()
    init_lab(root)
    (root / CONFIG).write_text(LAB.format(port=free_port()), encoding="utf-8")
    with ExitStack() as stack:
        stack.callback(command, lab, "down")
        command(lab, "up")
        command(lab, "rollout", "start", "canary", "next", "--steps", "10,100", "--interval",
                "25m", "--text-gate", "", "--why", "to be looked at")  # fmt: skip
        yield lab


def port_of(lab: Lab) -> int:
    found = re.search(r"(?m)^port = (\d+)", (lab.root / CONFIG).read_text(encoding="utf-8"))
    assert found
    return int(found[1])


def streams() -> list[str]:
    """Of all pages that have one."""
    return [f"{PREFIX}{page.path}/live" for page in menu.PAGES if page.live and page.name]


def tokens(lab: Lab) -> list[str]:
    """Of one who may change things and of one who may not: they are shown different parts."""
    return [
        command(lab, "token", "--sub", scope, "--scope", scope, "--ttl", "6h").strip()
        for scope in ("operator", "viewer")
    ]


def console_of(lab: Lab) -> list[psutil.Process]:
    """
    Raises:
        Failed: it does not run.
    """
    found = lab_processes(lab.state, "llmlab.console")
    if not found:
        raise Failed("the console does not run")
    return found


# --- measuring ----------------------------------------------------------------------


def pair(lab: Lab, script: Path, watch: Watch, seconds: int, *, watched_first: bool) -> Pair:
    def watched() -> Turn:
        with watching(watch):
            return turn(lab, script, seconds)

    if watched_first:
        first = watched()
        return Pair(first, turn(lab, script, seconds))
    alone = turn(lab, script, seconds)
    return Pair(watched(), alone)


def turn(lab: Lab, script: Path, seconds: int) -> Turn:
    """
    Raises:
        Failed: a request was not answered well.
    """
    url = f"http://127.0.0.1:{port_of(lab)}/summarize/"
    before, began = spent(lab), time.monotonic()
    done = subprocess.run(
        ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds}s", "-s", str(script), url],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    used = (spent(lab) - before) / (time.monotonic() - began)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if done.returncode or not rate or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise Failed(f"wrk: {done.stdout}{done.stderr}")
    return Turn(float(rate[1]), used)


def spent(lab: Lab) -> float:
    """CPU-seconds of the console's process."""
    return sum(sum(one.cpu_times()[:2]) for one in console_of(lab))


def resting(lab: Lab, watch: Watch, seconds: float) -> float:
    """The console's CPU, as a share of a core, while all look and nobody asks a model."""
    with watching(watch):
        before, began = spent(lab), time.monotonic()
        time.sleep(seconds)
        return (spent(lab) - before) / (time.monotonic() - began)


def keeping(lab: Lab, watch: Watch, minutes: float) -> Kept:
    """Consoles that are closed and opened all the while: what is left of them in memory."""
    changing = Watch(watch.port, watch.paths, watch.tokens, watch.consoles, LIVES)
    sent: Sent
    with Meter(lambda: console_of(lab)) as usage, watching(changing) as sent:
        time.sleep(60 * minutes)
    memory = [one / MEGABYTE for one in usage.resident]
    fifth = len(memory) // 5
    return Kept(
        median(memory[fifth : 2 * fifth]), median(memory[-fifth:]), minutes, sent.opened,
        sent.events,
    )  # fmt: skip


def _say(begin: float, what: str) -> None:
    print(f"{time.monotonic() - begin:6.0f} s  {what}", file=sys.stderr, flush=True)


# --- for people ---------------------------------------------------------------------


def markdown(document: Mapping[str, Any]) -> str:
    where, kept = document["machine"], Kept(**document["kept"])
    quick = "\n**A smoke run: these figures mean little.**\n" if document["quick"] else ""
    pairs = [Pair(Turn(**one["watched"]), Turn(**one["alone"])) for one in document["pairs"]]
    low, high = interval([one.ratio for one in pairs])
    targets = [
        f"| {one['what']} | {one['wanted']} | {digits(one['found'])} | "
        f"{'met' if one['met'] else '**missed**'} |"
        for one in document["targets"]
    ]
    return "\n".join([
        "# What open consoles cost a lab", quick,
        f"{document['date']}; one run of `make bench-console`, {document['seconds'] / 60:.0f} "
        f"minutes.\n{where['processor']}, {where['cores']} cores, {where['memory_gb']:g} GB, "
        f"{where['system']}.\n",
        f"{CLIENTS} clients that keep their connections ask the embedded model through the "
        "gateway, with a canary\nunder way, in "
        f"{len(pairs)} pairs of turns: with {CONSOLES} consoles open and without any. They hold "
        f"the streams of\n{len(document['streams'])} pages, half of them as an operator and half "
        "as a viewer; what browsers draw is not counted, and\nwhat reads the streams is.\n",
        "| | wanted | found | |", "| --- | --- | ---: | --- |", *targets, "",
        f"The ratio of the pairs: {digits(low)}–{digits(high)} (95 % of its median, by order).\n",
        "| | requests/s, median | the console's CPU, of a core |", "| --- | ---: | ---: |",
        *(f"| {name} | {digits(median(one.rate for one in turns))} | "
          f"{100 * median(one.cpu for one in turns):.1f} % |"
          for name, turns in ((f"{CONSOLES} consoles", [one.watched for one in pairs]),
                              ("none", [one.alone for one in pairs]))),
        f"| {CONSOLES} consoles, and no request | 0 | {100 * document['idle']:.1f} % |", "",
        f"Memory: {kept.begin:.1f} MB after the first fifth of {kept.minutes:g} minutes, "
        f"{kept.end:.1f} MB in the last; meanwhile {kept.opened:,}\nconsoles were opened, each "
        f"closed after {LIVES:g} s, and {kept.events:,} events were sent.\n",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
