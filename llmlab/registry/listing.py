"""The lab's models as a list, and one of them with all that is known of it."""

from __future__ import annotations

from typing import Any, TypedDict

from llmlab.config import Model
from llmlab.errors import ConfigError, UsageError
from llmlab.models import Availability, availability, inspect
from llmlab.models.inspect import quick_id
from llmlab.names import SUMMARIZE
from llmlab.registry.catalogue import Catalogue, Known
from llmlab.registry.record import Record


class Listed(TypedDict):
    """A model of lab.toml, or a registered one.

    Args:
        name: of a registered one NAME:VERSION.
        registered: whether it is of the registry rather than of lab.toml.
        id: its content id; "" where only the model's files can tell.
        role: stable (of summarize), another route that it answers, or fallback; "" for none.
        origin: where a registered one is from: hub, path, tuned or import.
        ready: whether it can be served right now; ``reason`` and ``fix`` say why not.
    """

    name: str
    registered: bool
    id: str
    aliases: list[str]
    role: str
    runtime: str
    source: str
    origin: str
    ready: bool
    reason: str
    fix: str | None


def listed(catalogue: Catalogue) -> list[Listed]:
    """Those of lab.toml, then the registered ones."""
    config, registry, roles = catalogue.config, catalogue.registry, roles_of(catalogue)
    rows = [
        _row(catalogue, name, model, catalogue.record_of(model), role=roles.get(name, ""))
        for name, model in config.models.items()
    ]
    aliases = registry.aliases()
    for record in registry.records():
        row = _row(catalogue, record.reference, registry.model(record), record,
                   role=roles.get(record.reference, ""))  # fmt: skip
        pointing = [alias for alias, to in aliases.items() if to == record.reference]
        rows.append({**row, "registered": True, "aliases": pointing})
    return rows


def roles_of(catalogue: Catalogue) -> dict[str, str]:
    """{name in lab.toml, or reference of a registered model: its role}."""
    roles: dict[str, str] = {}
    config = catalogue.config
    of_routes = [(route, name) for route, name in config.served.items() if route != SUMMARIZE]
    for role, name in (("stable", config.stable), *of_routes, ("fallback", config.fallback)):
        if name in config.models:
            roles.setdefault(name, role)
            continue
        try:
            known = catalogue.find(name) if name else None
        except UsageError:  # a list can be shown; `up` says what is wrong
            continue
        if known and known.record:
            roles.setdefault(known.record.reference, role)
    return roles


def _row(
    catalogue: Catalogue, name: str, model: Model, record: Record | None, *, role: str
) -> Listed:
    root, llama_server = catalogue.registry.root, catalogue.config.service.llama_server
    found = availability(name, model, root, llama_server=llama_server)
    try:
        model_id = record.id if record else quick_id(name, model, found.folder, root)
    except ConfigError as error:  # a list can be shown; its prompt is none
        model_id = ""
        found = Availability(False, reason=error.message, fix=error.fix or "")
    return {
        "name": name, "registered": False, "id": model_id, "aliases": [],
        "role": role, "runtime": model.runtime, "source": model.source,
        "origin": record.facts.source if record else "",
        "ready": found.ready, "reason": found.reason, "fix": found.fix,
    }  # fmt: skip


def told_source(row: Listed) -> str:
    """The registry's own folders tell nobody anything: rather where the model is from."""
    if not row["registered"] or row["origin"] in ("hub", "wheel"):
        return str(row["source"]) or "elsewhere"
    return {"path": "added", "tuned": "tuned", "import": "imported"}[row["origin"]]


def shown(catalogue: Catalogue, known: Known) -> dict[str, Any]:
    """All that is known of one: what is on this disk, and its record. Reads all its files.

    Raises:
        ConfigError: its prompt is none.
    """
    facts = inspect(
        known.name, known.model, catalogue.registry.root,
        llama_server=catalogue.config.service.llama_server,
    )  # fmt: skip
    return {**facts, "record": known.record.as_json() if known.record else None}
