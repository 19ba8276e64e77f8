"""What a recording is: what was asked for, and what there is of it by now."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from llmlab.errors import LlmlabError, unreadable
from llmlab.files import write_atomically
from llmlab.recording.order import COUNTS, LINES, Counts
from llmlab.recording.reading import LARGEST_COUNTS, files_in, opened

MANIFEST = "manifest.json"
State = Literal["recording", "full", "over", "ended"]


@dataclass(frozen=True)
class Manifest:
    """What was asked for.

    Args:
        by: who has started it.
        share: percent of the route's requests.
        redacted: whether what guards would find was replaced before it was written.
        until: when it ends by itself; times are in UTC, ISO 8601.
        ended: "" while nobody has ended it.
    """

    id: str
    route: str
    by: str
    why: str
    started: str
    until: str
    share: float
    redacted: bool
    max_bytes: int
    max_age: float
    ended: str = ""
    ended_by: str = ""


@dataclass(frozen=True)
class Recorded(Manifest):
    """A recording as it is.

    Args:
        state: full and over: it has ended by itself, by size or by time.
        requests: that are kept in it, as of a second or two ago.
        dropped: requests of which no record could be kept.
        opted_out: requests whose clients want nothing kept.
        replaced: {kind: how often guards' patterns found it}.
        answered_by: {deployment: content ids of its models}.
        bytes: on the disk.
        damaged: files of counts that are none; what they would tell is not in it.
    """

    state: State = "ended"
    requests: int = 0
    dropped: int = 0
    opted_out: int = 0
    replaced: dict[str, int] = field(default_factory=dict)
    answered_by: dict[str, list[str]] = field(default_factory=dict)
    bytes: int = 0
    damaged: int = 0


def moment(seconds: float) -> str:
    """Seconds of the epoch in UTC, ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def seconds_of(said: str) -> float:
    return datetime.fromisoformat(said).timestamp()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    write_atomically(folder / MANIFEST, json.dumps(asdict(manifest), indent=1) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Raises LlmlabError: it is damaged."""
    file = folder / MANIFEST
    try:
        return Manifest(**json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise LlmlabError(
            f"{file} is no manifest of a recording: {unreadable(error)}", fix=f"rm -r {folder}"
        ) from None


def recorded_in(folder: Path, now: float) -> Recorded:
    """What there is in a recording's folder.

    Args:
        now: in seconds of the epoch.

    Raises:
        LlmlabError: it is damaged.
    """
    manifest = read_manifest(folder)
    files = files_in(folder, COUNTS)
    counts = [found for one in files if (found := _counts(one))]
    replaced: Counter[str] = Counter()
    answered: dict[str, list[str]] = {}
    for one in counts:
        replaced.update(one.redacted)
        known = answered.setdefault(one.deployment, [])
        known += [model for model in one.models if model not in known]
    return Recorded(
        **asdict(manifest),
        state=_state(manifest, any(one.full for one in counts), now),
        requests=sum(one.kept for one in counts),
        dropped=sum(one.dropped for one in counts),
        opted_out=sum(one.opted_out for one in counts),
        replaced=dict(sorted(replaced.items())),
        answered_by={name: models for name, models in answered.items() if models},
        bytes=sum(one.lstat().st_size for one in files_in(folder, LINES)),
        damaged=len(files) - len(counts),
    )


def _state(manifest: Manifest, full: bool, now: float) -> State:
    if full:
        return "full"
    until = seconds_of(manifest.until)
    if manifest.ended:
        return "over" if seconds_of(manifest.ended) >= until else "ended"
    return "over" if now >= until else "recording"


def _counts(file: Path) -> Counts | None:
    """None where it is none: what a container has written ends no recording, and keeps none."""
    try:
        with opened(file) as content:
            return Counts.model_validate_json(content.read(LARGEST_COUNTS))
    except (OSError, ValueError):
        return None
