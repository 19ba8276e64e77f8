"""What an API is told to remember of routes for a while: some texts and its answers to them, in
memory only, for the rollouts that hold a candidate's answers against them.

As with a recording it is a small JSON file beside its settings, with an order for each route that
wants one. The route's controller renews its own again and again; if that ends without a word, so
does the order, soon.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from llmlab.files import locked, write_atomically
from llmlab.lab import Lab
from llmlab.recording.order import Key

FILE = "sample.json"
LARGEST = 65_536  # bytes of it
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


class Samples(BaseModel):
    """All of them: at most one for each route."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    samples: Annotated[tuple[Sample, ...], Field(strict=False)] = ()

    def but(self, route: str, now: float) -> tuple[Sample, ...]:
        """Those of other routes that have not ended by themselves."""
        return tuple(one for one in self.samples if one.route != route and one.until > now)


def sample_file(settings: Path) -> Path:
    """Where an API with these settings looks."""
    return settings.with_name(FILE)


def tell(lab: Lab, route: str, sample: Sample | None) -> None:
    """Have this remembered of a route from now on, within a second; nothing any more for None.
    What is remembered of other routes goes on.
    """
    with locked(lab.state / "sample.lock"):
        for file, mode in _files(lab):
            told = _read(file).but(route, time.time()) + ((sample,) if sample else ())
            if told:
                write_atomically(file, Samples(samples=told).model_dump_json() + "\n", mode)
            else:
                file.unlink(missing_ok=True)


def _read(file: Path) -> Samples:
    """What is there. Of a file that cannot be read nobody takes an order: it is written anew, and
    whoever else had one in it renews that soon."""
    try:
        return Samples.model_validate_json(file.read_bytes()[:LARGEST])
    except (OSError, ValueError):
        return Samples()


def _files(lab: Lab) -> Iterator[tuple[Path, int]]:
    """One for all processes of this machine, and one for each container, whose user is another."""
    local = lab.state / "deployments"
    if local.is_dir():
        yield sample_file(local / "settings.json"), 0o600
    for settings in sorted((lab.state / "compose").glob("*/settings.json")):
        yield sample_file(settings), 0o644
