"""python -m benchmarks.drills: how soon the gate gives back what goes wrong. Writes DRILLS.md and
drills.json.

Each drill some times under each engine, in one lab; see benchmarks.drilling. Containers need a
Docker engine.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.drilling import LAB, WAYS, Aborted, Found, Missed, Way, go_through
from benchmarks.lab import command
from benchmarks.publishing import Document, publish
from benchmarks.report import machine
from benchmarks.systems import free_port
from llmlab.files import write_atomically
from llmlab.lab import CONFIG, Lab, init_lab

HERE = Path(__file__).parent
ENGINES = ("local", "compose")
ROUNDS = 5
BEGIN, END = "<!-- drills: of DRILLS.md -->", "<!-- /drills -->"  # in README.md


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drills", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--engine", action="append", choices=ENGINES, help="both without it")
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="of each engine, after which no round begins"
    )
    parser.add_argument("--again", action="store_true", help="only DRILLS.md, of drills.json")
    parser.add_argument("--to", type=Path, default=HERE)
    options = parser.parse_args()
    if options.again:
        document = json.loads((options.to / "drills.json").read_text(encoding="utf-8"))
        write_atomically(options.to / "DRILLS.md", markdown(document))
    else:
        publish("drills", options.to, partial(measured, options), markdown)
    _into_readme(options.to)


def measured(options: argparse.Namespace, folder: Path) -> Document:
    """
    Raises:
        Failed: a lab does not come up.
    """
    start = time.monotonic()
    found = {
        engine: drilled(folder / engine, engine, options.rounds, 60 * options.minutes)
        for engine in options.engine or ENGINES
    }
    return {
        "date": time.strftime("%Y-%m-%d %H:%M %Z"),
        "seconds": round(time.monotonic() - start),
        "machine": machine(),
        "load": round(os.getloadavg()[2], 1),
        "asked_for": options.rounds,
        "rounds": {engine: [_as_json(one) for one in rounds] for engine, rounds in found.items()},
    }


def drilled(root: Path, engine: str, rounds: int, seconds: float) -> list[Found]:
    """What became of all ways of going wrong, round by round.

    Args:
        seconds: after which no further round begins; the first one does.
    """
    lab, port, start = Lab(root), free_port(), time.monotonic()
    root.mkdir()
    init_lab(root)
    if engine == "compose":
        command(lab, "build", "--extra", "none", "--tag", "bench-drills", "--progress", "plain")
    (root / CONFIG).write_text(LAB.format(engine=engine, port=port), encoding="utf-8")
    found: list[Found] = []
    try:
        command(lab, "up")
        while len(found) < rounds and (not found or time.monotonic() - start < seconds):
            found.append(go_through(lab, f"http://127.0.0.1:{port}", partial(command, lab)))
            print(f"{engine}, round {len(found)}: {_in_short(found[-1])}", flush=True)
    finally:
        command(lab, "down")
    return found


def _as_json(found: Found) -> dict[str, Any]:
    return {name: asdict(one) for name, one in found.items()}


def _in_short(found: Found) -> str:
    return ", ".join(
        f"{name} {one.seconds:.0f} s" if isinstance(one, Aborted) else f"{name}: {one.why}"
        for name, one in found.items()
    )


# --- for people ----------------------------------------------------------------------


def markdown(document: Mapping[str, Any]) -> str:
    where, minutes = document["machine"], document["seconds"] / 60
    rounds: dict[str, list[Found]] = {
        engine: [{name: _read(one) for name, one in found.items()} for found in each]
        for engine, each in document["rounds"].items()
    }
    many = " and ".join(f"{_times(len(each))} under {engine}" for engine, each in rounds.items())
    wanted = document["asked_for"]
    fewer = any(len(each) < wanted for each in rounds.values())
    load = document["load"]
    busy = (
        f"The machine had much else to do meanwhile, a load of {load:g} on {where['cores']} cores: "
        "that makes\nseconds many more, and answers and pairs hardly.\n"
        if load > 2 * where["cores"]
        else ""
    )
    short = f" ({_times(wanted)} was asked for, but time was over)" if fewer else ""
    lacking = [
        f"{way.name} under {engine}"
        for engine, each in rounds.items()
        for way in WAYS
        if not any(way.name in found for found in each)
    ]
    not_met = f"Time was over before: {', '.join(lacking)}.\n" if lacking else ""
    return "\n".join([
        "# How soon the gate gives back what goes wrong\n",
        f"{document['date']}; one run of `make bench-drills`, {minutes:.0f} minutes.\n"
        f"{where['processor']}, {where['cores']} cores, {where['memory_gb']:g} GB, "
        f"{where['system']}.\n",
        f"Each drill was met by a canary, {many}{short},\n"
        "by the rules and the clients of `benchmarks/drilling.py`: alpha 5 %, a first step of 25 % "
        "for what\nis seen by how answers come and end, and of 5 % for what is seen by pairs "
        "(`rollout.pairs = 1`);\n20 callers have texts summarized, 200 chat. Figures are medians "
        "of the canaries that were given back,\nwith the lowest and the highest in brackets: "
        "answers that clients got from the candidate, pairs that\nnobody got, seconds since "
        "`llmlab rollout start`, and the largest share of the traffic that it had.\n",
        busy, not_met,
        "| | engine | given back | seen by | answers | pairs | seconds | share |",
        "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: |",
        *(
            _row(way, engine, met)
            for way in WAYS
            for engine, each in rounds.items()
            if (met := [found[way.name] for found in each if way.name in found])
        ),
        "",
        "How often equal versions are given back is in GATE.md. Seconds are those of this traffic: "
        "with half\nof it, it takes twice as long, and as many answers.\n",
    ])  # fmt: skip


def _read(one: Mapping[str, Any]) -> Aborted | Missed:
    return Aborted(**one | {"by": tuple(one["by"])}) if "by" in one else Missed(**one)


def _row(way: Way, engine: str, found: Sequence[Aborted | Missed]) -> str:
    back = [one for one in found if isinstance(one, Aborted)]
    by = Counter(metric for one in back for metric in one.by[:1]).most_common(1)
    cells = [
        f"{way.name}: {way.what}", engine, f"{len(back)} of {len(found)}", by[0][0] if by else "-",
        _spread([one.answers for one in back]),
        _spread([one.pairs for one in back]) if any(one.pairs for one in back) else "-",
        _spread([one.seconds for one in back]),
        f"{max(one.percent for one in back):g} %" if back else "-",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    middle = f"{median(values):.0f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.0f}–{max(values):.0f})"


def _times(many: int) -> str:
    return "once" if many == 1 else f"{many} times"


def _into_readme(to: Path) -> None:
    """The table, between its marks, if there is a README.md beside it."""
    readme = to / "README.md"
    if not readme.exists():
        return
    lines = (to / "DRILLS.md").read_text(encoding="utf-8").splitlines()
    table = "\n".join(line for line in lines if line.startswith("|"))
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    write_atomically(readme, f"{before}{BEGIN}\n{table}\n{END}{after}")


if __name__ == "__main__":
    main()
