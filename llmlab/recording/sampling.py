"""What an API is told to remember of a route for a while: some texts and its answers to them, in
memory only, for the rollout that holds a candidate's answers against them.

As with a recording it is a small JSON file beside its settings. Its controller renews it again and
again; if that ends without a word, so does this, soon.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from llmlab.files import write_atomically
from llmlab.lab import Lab
from llmlab.recording.order import Key

FILE = "sample.json"
LARGEST = 16_384  # bytes of it
LASTS = 120.0  # seconds from one renewal


class Sample(BaseModel):
    """
    Args:
        deployment: that is to remember; others go on.
        share: percent of the requests; exact and in turn, in each process.
        slice: seconds in which a subject counts once.
        until: seconds of the epoch.
        pseudonyms: the key of the names that subjects get.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    deployment: str
    route: str
    share: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
    slice: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
    until: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    pseudonyms: Key


def sample_file(settings: Path) -> Path:
    """Where an API with these settings looks."""
    return settings.with_name(FILE)


def tell(lab: Lab, sample: Sample | None) -> None:
    """Have this remembered from now on, within a second; nothing any more for None."""
    for file, mode in _files(lab):
        if sample is None:
            file.unlink(missing_ok=True)
        else:
            write_atomically(file, sample.model_dump_json() + "\n", mode)


def _files(lab: Lab) -> Iterator[tuple[Path, int]]:
    """One for all processes of this machine, and one for each container, whose user is another."""
    local = lab.state / "deployments"
    if local.is_dir():
        yield sample_file(local / "settings.json"), 0o600
    for settings in sorted((lab.state / "compose").glob("*/settings.json")):
        yield sample_file(settings), 0o644
