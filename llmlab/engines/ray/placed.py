"""What runs where, as the placer has seen it last: a file in the lab's state, for whoever looks."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from llmlab.engines.ray.wanted import folder_of
from llmlab.engines.status import NodeStatus
from llmlab.files import write_atomically
from llmlab.lab import Lab

State = Literal["PENDING", "STARTING", "BACKOFF", "RUNNING", "FATAL", "STOPPING"]


@dataclass(frozen=True)
class Placed:
    """A replica: ``state`` in the words of a supervisor; PENDING as long as no machine has room.

    ``node``: the machine's name, "" as long as it has none; ``host``: its address, and
    ``port``, where it is reached. ``since`` in
    seconds of the epoch, of the last start; ``memory`` in bytes. ``why``: it has failed.
    """

    process: str
    deployment: str
    version: str
    state: State
    node: str = ""
    host: str = ""
    port: int = 0
    pid: int | None = None
    since: float = 0.0
    memory: int = 0
    why: str = ""


@dataclass(frozen=True)
class Placement:
    """``head``: whether it answers. ``at``: seconds of the epoch. ``actors``: how many there are,
    wanted or not. ``asked``: when that was wanted which it goes by; see ``wanted.asked_at``."""

    at: float = 0.0
    head: bool = False
    machines: tuple[NodeStatus, ...] = ()
    replicas: tuple[Placed, ...] = ()
    actors: int = 0
    asked: float = 0.0

    def of(self, process: str) -> Placed | None:
        return next((one for one in self.replicas if one.process == process), None)


_PLACEMENT = TypeAdapter(Placement)


def read_placement(lab: Lab) -> Placement:
    """As it was written last; empty where nothing was, or nobody can read it."""
    try:
        return _PLACEMENT.validate_json(_file(lab).read_bytes())
    except (OSError, ValueError):
        return Placement()


def write_placement(lab: Lab, placement: Placement) -> None:
    write_atomically(_file(lab), json.dumps(asdict(placement), indent=1) + "\n")


def forget_placement(lab: Lab) -> None:
    _file(lab).unlink(missing_ok=True)


def _file(lab: Lab) -> Path:
    return folder_of(lab) / "placed.json"
