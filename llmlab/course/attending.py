"""The labs of a class as they run: brought up and down a few at a time, and looked at."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from llmlab.course.checks import look_at_all
from llmlab.course.classes import TOKEN, Class, Seat, token_holds, write_token
from llmlab.course.evidence import Evidence
from llmlab.course.finding import Result
from llmlab.errors import LlmlabError
from llmlab.lab import Lab
from llmlab.shell import run

MIB = 1 << 20
# Of one lab with the embedded model, measured with five of them (PSS, so what they share counts
# once): API, supervisor, keeper and NGINX's master; and each of NGINX's workers, one for a core.
LAB_MIB, WORKER_MIB = 92, 3
PATIENCE = 600.0  # seconds for one lab
# What is set for the lab of a terminal would count for every lab of the class.
NOT_FOR_ALL = re.compile(r"LLMLAB_(LAB|PORT|URL|TOKEN|TOKEN_FILE|STABLE|GATEWAY_.*|JUPYTER_.*)")
KEPT_FOR_ALL = re.compile(r"LLMLAB_GATEWAY_NGINX")


@dataclass(frozen=True)
class Done:
    """What came of one lab's `up` or `down`; ``problem`` is "" if it went well."""

    name: str
    problem: str = ""


@dataclass(frozen=True)
class Estimate:
    """Memory in bytes: what so many labs take, and what the machine has left."""

    labs: int
    needed: int
    available: int

    @property
    def fits(self) -> bool:
        return self.needed <= self.available


@dataclass(frozen=True)
class Attendance:
    """One lab at one moment. ``results`` are those of the course, in order."""

    seat: Seat
    url: str
    running: bool
    healthy: bool
    results: tuple[Result, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.seat.name, "url": self.url, "running": self.running,
            "healthy": self.healthy,
            "objectives": [
                {"number": one.number, "done": one.done, "passed": one.passed,
                 "of": len(one.findings)}
                for one in self.results
            ],
        }  # fmt: skip


def estimate(labs: int) -> Estimate:
    """What so many labs with the embedded model take, before they are started."""
    each = (LAB_MIB + WORKER_MIB * (os.cpu_count() or 1)) * MIB
    return Estimate(labs, labs * each, psutil.virtual_memory().available)


def up(group: Class, seats: Sequence[Seat], ttl: int, *, at_a_time: int) -> Iterator[Done]:
    """Bring labs up, with a token that holds in each one's file. In the order they are ready."""

    def one(seat: Seat) -> Done:
        lab = group.lab(seat)
        if not token_holds(lab):
            write_token(lab, seat.name, ttl)
        return _verb(lab, seat, "up")

    yield from _each(seats, one, at_a_time)


def down(group: Class, seats: Sequence[Seat], *, at_a_time: int) -> Iterator[Done]:
    yield from _each(seats, lambda seat: _verb(group.lab(seat), seat, "down"), at_a_time)


def status(group: Class, *, at_a_time: int) -> list[Attendance]:
    """All labs, in their order."""
    with ThreadPoolExecutor(at_a_time) as pool:
        return list(pool.map(lambda seat: _look(group.lab(seat), seat), group.seats))


def token_file(group: Class, seat: Seat) -> Path:
    return group.lab(seat).root / TOKEN


def _look(lab: Lab, seat: Seat) -> Attendance:
    evidence = Evidence(lab)
    found = evidence.status
    url = found.gateway.url if found.running else f"http://127.0.0.1:{seat.port}"
    return Attendance(seat, url, found.running, found.healthy, tuple(look_at_all(evidence)))


def _each(seats: Sequence[Seat], one: Callable[[Seat], Done], at_a_time: int) -> Iterator[Done]:
    def safely(seat: Seat) -> Done:
        try:
            return one(seat)
        except LlmlabError as error:
            return Done(seat.name, error.message)
        except OSError as error:
            return Done(seat.name, f"{error.filename}: {error.strerror}")

    with ThreadPoolExecutor(at_a_time) as pool:
        for future in as_completed([pool.submit(safely, seat) for seat in seats]):
            yield future.result()


def _verb(lab: Lab, seat: Seat, verb: str) -> Done:
    """A verb of the command, as one would type it in that lab."""
    command = [sys.executable, "-m", "llmlab", "--lab", str(lab.root), verb]
    kept = {
        name: value for name, value in os.environ.items()
        if KEPT_FOR_ALL.fullmatch(name) or not NOT_FOR_ALL.fullmatch(name)
    }  # fmt: skip
    done = run(command, timeout=PATIENCE, env=kept)
    if done.code == 0:
        return Done(seat.name)
    said = [line for line in done.output.splitlines() if line.startswith(("Error:", "Fix:"))]
    return Done(seat.name, " ".join(said) or f"exit code {done.code}")
