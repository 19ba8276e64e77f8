"""Minutes of load on a lab with nodes, of which one is killed and another joins, again and again,
while a canary goes its steps."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.figures import percentile
from benchmarks.lab import command
from benchmarks.node_bed import LOOKS, Nodes, lay_out, nodes, serves, until
from benchmarks.node_clients import Asked, read
from benchmarks.ray_bed import NEVER
from benchmarks.systems import TOP
from benchmarks.targets import Judgement
from llmlab.engines.record import Record
from llmlab.lab import Lab
from llmlab.names import SUMMARIZE
from llmlab.rollout.store import Rollouts

CLIENTS = 20
REPLICAS = 3  # of either version
NODES = (2, 3, 4)
# Of each node, for replicas: two nodes have room for all, as who wants to lose one machine has it.
CORES = 3
STABLE, CANDIDATE = "textrank", "twin"
STEPS = (5, 25, 50, 99)  # 1 % stays where it was until the canary is over
APART = 2.0  # points by which a step's share may be another one
TURNS = 1.5  # seconds around a change of shares in which requests count for neither step
MODELS = """\
[rollout]
steps = [5, 25, 50, 100]
holdback = 1
bake = 5
error_margin = 0.05
latency_gate = ""
text_gate = ""
min_samples = 10

[models.textrank]
runtime = "extractive"
source = "embedded:textrank"

[models.twin]
runtime = "extractive"
source = "embedded:textrank"
"""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Pace:
    """In seconds: of all, between two deaths, of a step."""

    seconds: float
    every: float
    step: float


FULL, QUICK = Pace(300, 30, 62), Pace(80, 25, 15)


@dataclass(frozen=True)
class Death:
    """Of a node with what ran there, or of the head (``what``).

    Args:
        at: seconds since the load began, of the first signal; at ``dead`` all of it was gone.
        replicas: those that were killed with it; after ``again`` seconds all of these served
            elsewhere (the head: it answered, with no replica gone). None for never.
        joined: seconds until the node that came for it was there.
        load: how many processes wanted a core just then, by the system's own figure.
    """

    what: str
    at: float
    dead: float
    replicas: tuple[str, ...]
    again: float | None
    joined: float | None
    load: float


@dataclass
class Shares:
    """What the gateway gave the candidate, in percent, and since when."""

    changes: list[tuple[float, float]] = field(default_factory=list)

    def see(self, percent: float) -> None:
        if not self.changes or self.changes[-1][1] != percent:
            self.changes.append((time.monotonic(), percent))

    def spans(self, until: float) -> Iterator[tuple[float, float, float]]:
        """Percent, and between which moments that alone was so."""
        ends = [at for at, _ in self.changes[1:]] + [until]
        for (at, percent), end in zip(self.changes, ends, strict=True):
            yield percent, at + TURNS, end - TURNS


def measured(folder: Path, say: Say, pace: Pace, *, with_head: bool) -> dict[str, Any]:
    """
    Args:
        with_head: the head is killed as well, in the middle.
    """
    folder.mkdir()
    lab, asked = lay_out(folder / "lab", "ray", STABLE, MODELS), folder / "asked"
    begin_all = time.monotonic()
    with nodes(lab, NODES, CORES) as found:
        command(lab, "deployment", "scale", STABLE, str(REPLICAS))
        command(lab, "deploy", CANDIDATE, "--replicas", str(REPLICAS))
        all_serve(found)
        say("all replicas serve")
        shares = Shares()
        with clients(lab, asked), watching(lab, shares):
            time.sleep(pace.every / 6)
            begin = time.monotonic()
            command(lab, "rollout", "start", "canary", CANDIDATE, "--interval", f"{pace.step:g}s",
                    "--min-samples", "10", "--text-gate", "")  # fmt: skip
            deaths = list(dying(found, say, begin, pace, with_head=with_head))
            time.sleep(max(0.0, begin + pace.seconds - time.monotonic()))
            end = time.monotonic()
        all_serve(found)
        kept = Rollouts(lab).last()
        whole = bool(json.loads(command(lab, "ledger", "verify", "-o", "json"))["whole"])
    requests = [one for one in read(asked) if begin <= one.at]
    return {
        "requests": len(requests), "seconds": round(end - begin), "every": pace.every,
        "whole_run": round(time.monotonic() - begin_all),
        "statuses": {str(code): many for code, many in
                     sorted(Counter(one.status for one in requests).items())},
        "p50": percentile([one.took for one in requests], 50),
        "p99": percentile([one.took for one in requests], 99),
        "worst": max(one.took for one in requests),
        "lost": [asdict(one) | {"at": round(one.at - begin, 2), "in_flight": at_death(one, moments)}
                 for moments in [[(begin + death.at, begin + death.dead) for death in deaths]]
                 for one in requests if one.status != 200],
        "deaths": [asdict(one) for one in deaths],
        "steps": [step(percent, since - begin, until - begin, begin, requests)
                  for percent, since, until in shares.spans(end) if until > since],
        "rollout": {"phase": kept.rollout.phase, "setbacks": kept.rollout.setbacks} if kept else {},
        "ledger": whole, "load": max(one.load for one in deaths),
    }  # fmt: skip


def all_serve(found: Nodes) -> None:
    names = {f"{name}{suffix}" for name in (STABLE, CANDIDATE) for suffix in suffixes()}
    until(lambda: all(serves(found.lab, one) for one in names), "all replicas", found.lab)


def suffixes() -> list[str]:
    return ["", *(f".{number}" for number in range(2, REPLICAS + 1))]


@contextmanager
def clients(lab: Lab, file: Path) -> Iterator[None]:
    line = [sys.executable, "-m", "benchmarks.node_clients", str(lab.root), str(file), str(CLIENTS)]
    file.touch()
    process = subprocess.Popen(line, cwd=TOP)
    try:
        until(lambda: bool(file.stat().st_size), "an answer", lab)
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def watching(lab: Lab, shares: Shares) -> Iterator[None]:
    """See which shares the gateway goes by, as long as the block lasts."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOKS):
            record = Record.read(lab)
            if record:
                weights = record.plan().traffic.route(SUMMARIZE).weights(STABLE)
                shares.see(weights.get(CANDIDATE, 0.0))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# --- what is done to the machines ----------------------------------------------------


def dying(found: Nodes, say: Say, begin: float, pace: Pace, *, with_head: bool) -> Iterator[Death]:
    """One death after the other, each seen to its end."""
    moments = [pace.every * number for number in range(1, int(pace.seconds / pace.every))]
    head = moments[len(moments) // 2] + pace.every / 2 if with_head else NEVER
    number = max(NODES)
    for moment in sorted([*moments, head] if with_head else moments):
        time.sleep(max(0.0, begin + moment - time.monotonic()))
        if moment == head:
            one = head_dies(found, begin)
        else:
            number += 1
            one = node_dies(found, begin, number)
        say(f"{one.what} at {one.at:.0f} s: {', '.join(one.replicas)} again after {one.again} s, "
            f"the next node there after {one.joined} s, load {one.load}")  # fmt: skip
        yield one


def node_dies(found: Nodes, begin: float, comes: int) -> Death:
    """The node that has most replicas; another one is started in the same moment."""
    had = Counter(one.host for one in found.replicas().values() if one.host in found.there)
    ((host, _),) = had.most_common(1)
    gone = tuple(sorted(name for name, one in found.replicas().items() if one.host == host))
    at, dead = found.kill(host)
    found.start(comes)
    again = joined = None
    while (again is None or joined is None) and time.monotonic() - at < 120:
        if joined is None and found.address(comes) in found.ready:
            joined = round(time.monotonic() - at, 1)
        if joined is None and found.there[found.address(comes)].poll() is not None:
            found.start(comes)  # as a person would, where the head was away
        if again is None and all(serves(found.lab, name) for name in gone):
            again = round(time.monotonic() - at, 1)
        time.sleep(LOOKS)
    return Death("node", round(at - begin, 3), round(dead - begin, 3), gone, again, joined, load())


def head_dies(found: Nodes, begin: float) -> Death:
    before = {name: (one.host, one.pid) for name, one in found.replicas().items()}
    at, dead = found.kill_head()
    until(lambda: not found.head_answers, "the head's end", found.lab, 10)
    until(lambda: found.head_answers, "the head", found.lab)
    again = round(time.monotonic() - at, 1)
    after = {name: (one.host, one.pid) for name, one in found.replicas().items()}
    gone = tuple(sorted(name for name, one in before.items() if after.get(name) != one))
    return Death("head", round(at - begin, 3), round(dead - begin, 3), gone, again, None, load())


def load() -> float:
    return round(psutil.getloadavg()[0], 1)


# --- what is made of it --------------------------------------------------------------


def at_death(one: Asked, deaths: Sequence[tuple[float, float]]) -> bool:
    """Whether a request was under way when something was killed, which takes a while."""
    return any(one.at <= dead and at <= one.end for at, dead in deaths)


def step(
    percent: float, since: float, until: float, begin: float, requests: Sequence[Asked]
) -> dict[str, Any]:
    """What the candidate answered of the requests that lie within one step alone."""
    begins, ends = begin + since, begin + until
    among = [one for one in requests
             if begins <= one.at and one.end <= ends and one.status == 200]  # fmt: skip
    part = sum(one.model == CANDIDATE for one in among)
    return {"percent": percent, "since": round(since, 1), "until": round(until, 1),
            "answers": len(among), "found": 100 * part / len(among) if among else None}  # fmt: skip


def judged(name: str, found: dict[str, Any]) -> list[Judgement]:
    apart = [abs(one["found"] - one["percent"]) for one in found["steps"] if one["answers"]]
    reached = {one["percent"] for one in found["steps"] if one["answers"]}
    lost = sum(not one["in_flight"] for one in found["lost"])
    never = sum(one["again"] is None for one in found["deaths"])
    worst = max(apart, default=NEVER)

    def none(what: str, many: int) -> Judgement:
        return Judgement(f"{name}: {what}", "= 0", many, many == 0)

    return [
        none("failed requests that were not under way when something was killed", lost),
        none("replicas of a killed node that never served again", never),
        Judgement(f"{name}: points between what a step says and who answered, at the most",
                  f"≤ {APART:g}", worst, worst <= APART),
        Judgement(f"{name}: steps of the canary that were reached", f"= {len(STEPS)}",
                  len(reached & set(STEPS)), reached >= set(STEPS)),
        none("ledgers that are not whole", int(not found["ledger"])),
    ]  # fmt: skip
