"""Starts and ends fault drills: the file that an API looks at, and the ledger's entry of it.

What a drill does is in ``llmlab.service.drill``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmlab.config.schema import MODEL_NAME
from llmlab.delivery.deployments import check_deployment
from llmlab.delivery.store import Store
from llmlab.engines.compose.mounts import OPEN_FILE, OPEN_FOLDER, service_of
from llmlab.engines.record import Record
from llmlab.errors import UpstreamError
from llmlab.files import sync_folder, write_atomically
from llmlab.lab import Lab, private_folder
from llmlab.service.drill import LARGEST, LOOK, Drill, drill_file

TAKES_EFFECT = 2 * LOOK  # seconds, at most


@dataclass(frozen=True)
class _Place:
    """Where a deployment's drill stands, as this machine sees it."""

    file: Path
    folder_mode: int
    file_mode: int


def start(lab: Lab, deployment: str, drill: Drill, why: str = "") -> None:
    """Have a deployment misbehave, within a second, until ``stop``. One drill at a time: the
    one before ends.

    Raises:
        UsageError: there is no such deployment.
        UpstreamError: the lab does not run.
    """
    record = _running(lab)
    check_deployment(lab, deployment)
    place = _place(lab, record, deployment)
    private_folder(place.file.parent, place.folder_mode)
    said = {"deployment": deployment, "drill": drill.model_dump(mode="json", exclude_defaults=True)}
    # Within the transaction: what the ledger tells of is in place by then.
    with Store(lab).noting("drill", said, why):
        write_atomically(place.file, drill.model_dump_json() + "\n", place.file_mode)
        sync_folder(place.file.parent)


def stop(lab: Lab, deployment: str, why: str = "") -> bool:
    """Have a deployment behave again, within a second. Returns whether it was drilled."""
    record = _running(lab)
    if not MODEL_NAME.fullmatch(deployment):
        check_deployment(lab, deployment)
    place = _place(lab, record, deployment)  # that of a deployment which is gone, too
    if not place.file.exists():
        check_deployment(lab, deployment)
        return False
    with Store(lab).noting("drill", {"deployment": deployment, "drill": None}, why):
        place.file.unlink(missing_ok=True)
        sync_folder(place.file.parent)
    return True


def active(lab: Lab) -> dict[str, str]:
    """What is on, in words, by deployment. Empty for a lab that does not run."""
    record = Record.read(lab)
    if record is None:
        return {}
    found = {name: _told(_place(lab, record, name).file) for name in record.deployments}
    return {name: told for name, told in found.items() if told}


def _told(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return str(Drill.model_validate_json(opened.read(LARGEST)))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError):
        return f"none, for {file} is none"


def _running(lab: Lab) -> Record:
    record = Record.read(lab)
    if record is None:
        raise UpstreamError("the lab does not run, so nothing can be drilled", fix="llmlab up")
    return record


def _place(lab: Lab, record: Record, deployment: str) -> _Place:
    if record.engine == "compose":
        folder = lab.state / "compose" / service_of(deployment, record.plan())
        return _Place(drill_file(folder / "settings.json", deployment), OPEN_FOLDER, OPEN_FILE)
    settings = lab.state / "deployments" / f"{deployment}.json"
    return _Place(drill_file(settings, deployment), 0o700, 0o600)
