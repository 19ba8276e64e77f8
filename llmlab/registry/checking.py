"""Whether a registered model is on this disk as it was when it was registered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from llmlab.errors import UsageError
from llmlab.models import hub, store
from llmlab.models.identity import content_id, damaged_files
from llmlab.registry.contents import Contents
from llmlab.registry.record import Record


class VerifiedModel(TypedDict):
    """How a registered model is on this disk. absent: only its hub has it."""

    reference: str
    id: str
    verdict: Literal["ok", "damaged", "absent"]
    message: str


class VerifiedModels(TypedDict):
    """Args:
    database: what is wrong with the registry itself.
    """

    database: list[str]
    models: list[VerifiedModel]


@dataclass(frozen=True)
class Verdict:
    """How a registered model is on this disk. ``absent``: only its hub has it."""

    record: Record
    verdict: Literal["ok", "damaged", "absent"]
    message: str = ""

    def as_json(self) -> VerifiedModel:
        record = self.record
        return {"reference": record.reference, "id": record.id, "verdict": self.verdict,
                "message": self.message}  # fmt: skip


def check(record: Record, contents: Contents) -> Verdict:
    """Read every byte of a model, and of its converted form in the store."""
    if record.owned:
        problem = contents.damage(record.digits, record.files)
        found = Verdict(record, "damaged" if problem else "ok", problem)
    else:
        found = _in_cache(record)
    converted = store.place(record.id, record.facts.compute_type)
    if found.verdict == "damaged" or not store.is_converted(converted):
        return found
    if store.is_intact(converted):
        return found
    mended = f"llmlab models pull {record.reference} mends it"
    return Verdict(record, "damaged", f"not as it was converted, in {converted}: {mended}")


def located(record: Record, contents: Contents) -> Path:
    """The folder of a model's files, verified.

    Raises:
        UsageError: they are damaged, or not on this disk.
    """
    if record.owned:
        problem = contents.damage(record.digits, record.files)
        folder: Path | None = contents.models / record.digits
    else:
        found, base = _in_cache(record), record.facts.base
        problem = found.message
        folder = hub.cached(base.repository, base.revision) if base and not problem else None
    if problem or folder is None:
        raise UsageError(f"{record.reference}: {problem}", fix="llmlab models verify")
    return folder


def _in_cache(record: Record) -> Verdict:
    base = record.facts.base
    assert base
    try:
        there = hub.cached(base.repository, base.revision)
    except ImportError:
        return Verdict(record, "absent", "huggingface_hub, which knows where it is, is missing")
    if there is None or hub.incomplete(there):
        missing = f"{base.repository} is not on disk: llmlab models pull {record.reference}"
        return Verdict(record, "absent", missing)
    if damaged := ", ".join(one.name for one in damaged_files(there)):
        return Verdict(record, "damaged", f"not as the hub announced, in {there}: {damaged}")
    if content_id(there) != record.id:
        return Verdict(record, "damaged", f"not as it was registered, in {there}")
    return Verdict(record, "ok")
