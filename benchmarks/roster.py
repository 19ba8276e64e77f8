"""Who takes part."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.lab import ThroughGateway
from benchmarks.materials import model_of
from benchmarks.shapes import Shape
from benchmarks.systems import Direct, Served, Service, Setting, System

QUEUE = 64  # of llmlab; the clients' 32 must not be turned away, nor be the peers' advantage


@dataclass(frozen=True)
class Entry:
    """A system that can be measured.

    Args:
        how: its settings, for the reader of the results.
        needs: the package it is made of, if llmlab does not need that.
        slow: so much that 32 clients would be most of a smoke run.
    """

    letter: str
    name: str
    how: str
    needs: str
    make: Callable[[Setting, Shape], System]
    slow: bool = False


def _service(setting: Setting, shape: Shape) -> System:
    service = {
        "cache": 0, "queue": QUEUE, "replicas": setting.replicas, "threads": setting.threads,
    }  # fmt: skip
    document = {
        "deployment": "bench", "name": "bench", "model": model_of(shape).model_dump(),
        "folder": str(setting.material.converted), "service": service,
    }  # fmt: skip
    return Service("g", setting, json.dumps(document))


ENTRIES = (
    Entry(
        "a", "reference lab: generate() in async def",
        "FastAPI, one text at a time, all threads for it", "torch",
        lambda s, _: Served("a", s, "reference", replicas=1, threads=s.replicas * s.threads),
        slow=True,
    ),
    Entry(
        "b", "the same behind a thread pool",
        "one text for each core at once, one thread each", "torch",
        lambda s, _: Served("b", s, "reference", "--pool", replicas=s.replicas * s.threads,
                            threads=1),
        slow=True,
    ),
    Entry(
        "c", "LitServe around generate()",
        "one worker, all threads, max_batch_size 16, batch_timeout 20 ms", "litserve",
        lambda s, _: Served("c", s, "litserve", replicas=1, threads=s.replicas * s.threads),
        slow=True,
    ),
    Entry(
        "d", "LitServe around CTranslate2",
        "a worker for each replica, max_batch_size 16, batch_timeout 20 ms", "litserve",
        lambda s, _: Served("d", s, "litserve", "--fast", converted=True),
    ),
    Entry(
        "e", "Ray Serve around CTranslate2",
        "a replica for each of llmlab's, @serve.batch of 16, batch_wait_timeout_s 10 ms", "ray",
        lambda s, _: Served("e", s, "rayserve", converted=True),
    ),
    Entry(
        "f", "CTranslate2 called directly (the ceiling)",
        "a thread for each replica, each with its share of the texts as one batch", "",
        lambda s, _: Direct("f", s, s.replicas, s.threads),
    ),
    Entry(
        "f2", "the same, all cores for one batch",
        "one replica, all texts as one batch", "",
        lambda s, _: Direct("f2", s, 1, s.replicas * s.threads),
    ),
    Entry(
        "g", "llmlab's service",
        f"one process on its unix socket; cache 0, queue {QUEUE}, else the defaults", "",
        _service,
    ),
    Entry(
        "h", "llmlab through the gateway",
        f"llmlab up, JWT, no rate limit; cache 0, queue {QUEUE}, else the defaults", "",
        lambda s, _: ThroughGateway("h", s, QUEUE),
    ),
)  # fmt: skip


class Unavailable(Exception):
    """Somebody who was asked for cannot take part."""


def chosen(only: Iterable[str], without: Iterable[str]) -> list[Entry]:
    """The systems to measure.

    Args:
        only: letters; none for all.
        without: packages or letters to leave out.

    Raises:
        Unavailable: a name is unknown, or a package is missing.
    """
    only, without = list(only), list(without)
    known = {entry.letter for entry in ENTRIES}
    if wrong := set(only) - known:
        raise Unavailable(f"there is no system {', '.join(sorted(wrong))}")
    if wrong := set(without) - known - {entry.needs for entry in ENTRIES}:
        raise Unavailable(f"nothing is called {', '.join(sorted(wrong))}")
    entries = [
        entry
        for entry in ENTRIES
        if (not only or entry.letter in only) and not {entry.letter, entry.needs} & {*without}
    ]
    for entry in entries:
        if entry.needs and importlib.util.find_spec(entry.needs) is None:
            raise Unavailable(
                f"({entry.letter}) needs {entry.needs}: pip install -e '.[models,bench]', "
                f"or leave it out: --without {entry.needs}"
            )
    return entries
