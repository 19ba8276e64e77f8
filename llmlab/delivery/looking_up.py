"""Requests of a lab, from wherever its logs are: one by its id, or several by what they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmlab.delivery.request_logs import Found, in_containers, in_files
from llmlab.delivery.searching import LoggedRequest, Newest, Wanted, files_of, newest_in, newest_of
from llmlab.delivery.tracing import History, Traced, trace
from llmlab.engines.base import Engine
from llmlab.engines.choice import running_engine
from llmlab.engines.local.programs import GATEWAY
from llmlab.engines.record import Record
from llmlab.errors import UsageError
from llmlab.lab import Lab
from llmlab.ledger.store import Store
from llmlab.registry import Registry

CONTAINERS = "compose"  # of this engine what is printed counts, and not files


@dataclass(frozen=True)
class Sought:
    """What was looked for, the newest first. ``has_older``: whether there is more of it."""

    requests: tuple[LoggedRequest, ...]
    has_older: bool


def look_up(lab: Lab, ids: Sequence[str]) -> tuple[list[Traced], Found]:
    """Of a lab that runs or is down.

    Returns:
        Every request that has one of these ids, and what was searched.
    """
    found = in_files(lab.logs, ids)
    engine = running_engine(lab)
    if engine and engine.name == CONTAINERS:
        found += in_containers(engine, ids)
    return trace(found, _history(lab), ids), found


def search(lab: Lab, wanted: Wanted) -> Sought:
    """Of a lab that runs or is down."""
    newest = Newest(wanted)
    read_back(lab, running_engine(lab), newest)
    return Sought(tuple(newest.requests()), newest.has_older)


def read_back(lab: Lab, engine: Engine | None, newest: Newest) -> None:
    """Take what is logged already.

    Args:
        engine: which runs the lab, if one does.
    """
    if engine and engine.name == CONTAINERS:
        newest_of(engine, newest)
    newest_in(files_of(lab.logs / f"{GATEWAY}.log"), newest)


def _history(lab: Lab) -> History:
    registry = Registry(lab)

    def version(model_id: str) -> str:
        try:
            record = registry.find(model_id)
        except UsageError:  # several have it, or it is no id that a registry gives
            return ""
        return record.reference if record else ""

    record = Record.read(lab)
    return History(Store(lab), version, stable=record.plan().routes if record else {})
