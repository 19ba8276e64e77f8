"""What an API is told to record: a small JSON file beside its settings, as a drill is.

It is there as long as anything is recorded, and says with which key to seal, never how to open.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

FILE = "recording.json"
LOOK = 0.5  # seconds between two looks of an API at its file
LARGEST = 65_536  # bytes of it
ID = r"[a-z0-9][a-z0-9_-]{0,62}-[0-9]{8}-[0-9]{6}(-[0-9]{1,3})?"
LINES, COUNTS = ".jsonl", ".counts.json"  # what each process writes ...
WRITTEN = "written"  # ... in this folder of a recording, and nowhere else
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Order(BaseModel):
    """One recording, as the processes that write it are told.

    Args:
        folder: where they write.
        share: percent of the requests; exact and in turn, in each process.
        redact: whether what guards would find is replaced before anything is written.
        until: when it ends by itself, in seconds of the epoch.
        max_bytes: of all processes together.
        mode: of the files, which hold nothing that can be read without the private key.
        seal: the public key.
        pseudonyms: the key of the names that subjects get.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: Annotated[str, Field(pattern=f"^{ID}$")]
    route: str
    folder: Annotated[Path, Field(strict=False)]
    share: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = 100.0
    redact: bool = True
    until: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    max_bytes: Annotated[int, Field(gt=0)]
    mode: Annotated[int, Field(ge=0o600, le=0o644)] = 0o600
    seal: Key
    pseudonyms: Key


class Orders(BaseModel):
    """All of them: at most one for each route."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    orders: Annotated[tuple[Order, ...], Field(strict=False)] = ()


class Counts(BaseModel):
    """What one process has done of a recording.

    Args:
        models: content ids of those that have answered.
        kept: records that were written.
        dropped: that were lost: too many waited, an answer was too long, or none could be written.
        opted_out: requests whose clients want nothing of them kept.
        redacted: {kind: how often it was replaced}.
        full: whether it came to its end by size.
    """

    model_config = ConfigDict(extra="forbid")

    deployment: str
    models: list[str] = []
    kept: int = 0
    dropped: int = 0
    opted_out: int = 0
    redacted: dict[str, int] = {}
    full: bool = False


def orders_file(settings: Path) -> Path:
    """Where an API with these settings looks."""
    return settings.with_name(FILE)
