"""Texts/s of a model that is slow by computation: on nodes of one core each, and by the local
engine's processes of one core each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.figures import texts_between
from benchmarks.lab import command
from benchmarks.load import Job
from benchmarks.materials import Material, prepare
from benchmarks.node_bed import Nodes, configured, lay_out, nodes, serves, until
from benchmarks.node_deaths import Say
from benchmarks.shapes import SHAPES, Shape
from benchmarks.systems import TOP, Failed, fire
from benchmarks.targets import Judgement
from benchmarks.usage import tree
from llmlab.engines.local.supervisor import Supervisor
from llmlab.lab import Lab

MODEL = "bench"
LOCAL, NODE = "local", "node"
SHAPE = Shape("nodes", width=256, layers=4, rows=8_000, read=256, write=30)
MOST = 3  # nodes
WANTED = 0.95
CLIENTS = 6  # for each process
PAIRS, SECONDS = 4, 6.0
MODELS = """\
[models.bench]
runtime = "ctranslate2"
source = "path:{source}"
max_length = {length}
min_length = {length}
"""


def measured(folder: Path, say: Say, *, quick: bool) -> dict[str, Any]:
    folder.mkdir()
    shape = SHAPES["tiny"] if quick else SHAPE
    pairs, seconds = (1, 2.0) if quick else (PAIRS, SECONDS)
    material = prepare(TOP / "benchmarks" / "work", shape, None, "greedy")
    filled = MODELS.format(source=material.source, length=shape.longest)
    cores = sorted(os.sched_getaffinity(0))[:MOST]
    local = lay_out(folder / LOCAL, "local", MODEL, filled)
    node = lay_out(folder / NODE, "ray", MODEL, filled)
    numbers = {core: number for number, core in enumerate(cores, 2)}
    found: dict[int, dict[str, list[float]]] = {}
    try:
        command(local, "up")
        with nodes(node, (2,), pinned={number: core for core, number in numbers.items()}) as bed:
            for many in range(1, len(cores) + 1):
                grown(local, bed, many, cores, numbers)
                found[many] = {LOCAL: [], NODE: []}
                for lab in (local, node):
                    asked(lab, material, shape, many, seconds / 4, 0)
                for pair in range(pairs):
                    for lab in (local, node)[:: 1 if pair % 2 else -1]:
                        rate = asked(lab, material, shape, many, seconds, 1000 * (pair + 1))
                        found[many][lab.root.name].append(rate)
                say(f"{many} of {len(cores)} cores: {ratio(found[many]):.3f}")
    finally:
        command(local, "down")
    return {
        "pairs": pairs, "seconds": seconds, "clients": CLIENTS, "cores": len(cores),
        "shape": {"read": shape.read, "write": shape.write},
        "found": [{"processes": many, **rates, "ratio": ratio(rates)}
                  for many, rates in found.items()],
    }  # fmt: skip


def grown(
    local: Lab, bed: Nodes, many: int, cores: Sequence[int], numbers: Mapping[int, int]
) -> None:
    """To so many processes in both labs, each on a core of its own, and the same cores.

    Raises:
        Failed: two of them are on one.
    """
    if many > 1:
        bed.start(numbers[cores[many - 1]])
        bed.joined(numbers[cores[many - 1]])
    names = [MODEL, *(f"{MODEL}.{number}" for number in range(2, many + 1))]
    for lab in (local, bed.lab):
        command(lab, "deployment", "scale", MODEL, str(many))
        for name in names:
            until(lambda lab=lab, name=name: serves(lab, name), name, lab)
    for name, core in zip(names, cores, strict=False):
        pin(Supervisor(local).pid(f"api-{name}"), core)
    if len({one.host for one in bed.replicas().values()}) != many:
        raise Failed(f"{many} replicas are not on as many nodes: {bed.replicas()}")


def pin(pid: int | None, core: int) -> None:
    """All threads of a process and of its children to one core.

    Raises:
        Failed: it does not run.
    """
    if pid is None:
        raise Failed("a local process has ended")
    for process in tree([psutil.Process(pid)]):
        for thread in Path(f"/proc/{process.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})


def asked(
    lab: Lab, material: Material, shape: Shape, many: int, seconds: float, first: int
) -> float:
    """Texts/s of a turn.

    Raises:
        Failed: one was not answered.
    """
    token = command(lab, "token", "--sub", MODEL, "--ttl", "1h").strip()
    result = fire(Job(
        str(material.words), material.words_of_a_text, shape.read, shape.longest,
        concurrency=CLIENTS * many, seconds=seconds, first=first,
        url=configured(lab).gateway.url, headers={"Authorization": f"Bearer {token}"},
    ))  # fmt: skip
    wrong = [one.status for one in result.shots if one.status != 200]
    if wrong:
        raise Failed(f"{lab.root.name}: statuses {wrong}")
    return texts_between(result.shots, result.begin, result.until) / (result.until - result.begin)


def ratio(rates: Mapping[str, Sequence[float]]) -> float:
    """Of a node's to the local engine's, as the median of the pairs."""
    return median(two / one for one, two in zip(rates[LOCAL], rates[NODE], strict=True))


def judged(found: Mapping[str, Any]) -> list[Judgement]:
    return [
        Judgement(f"texts/s of {one['processes']} node(s) with one core each beside as many local "
                  "processes", f"≥ {WANTED:g}", one["ratio"], one["ratio"] >= WANTED)
        for one in found["found"]
    ]  # fmt: skip
