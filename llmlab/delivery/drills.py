"""Starts and ends fault drills: the files that APIs look at, and the ledger's entry of it.

What a drill does is in ``llmlab.service.drill``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from llmlab.config.schema import MODEL_NAME
from llmlab.delivery.deployments import check_deployment
from llmlab.engines.compose.mounts import OPEN_FILE, OPEN_FOLDER
from llmlab.engines.record import Record
from llmlab.errors import UpstreamError
from llmlab.files import sync_folder, write_atomically
from llmlab.lab import Lab, private_folder
from llmlab.ledger.store import Store
from llmlab.service.drill import LARGEST, LOOK, Drill, drill_file


class Drilled(TypedDict):
    """Args:
    drill: null: it is over.
    changed: whether anything had to be done.
    """

    deployment: str
    drill: Drill | None
    changed: bool


TAKES_EFFECT = 2 * LOOK  # seconds, at most


@dataclass(frozen=True)
class _Place:
    """Where a deployment's drill stands, as this machine sees it."""

    file: Path
    folder_mode: int
    file_mode: int

    def write(self, drill: Drill) -> None:
        private_folder(self.file.parent, self.folder_mode)
        write_atomically(self.file, drill.model_dump_json() + "\n", self.file_mode)
        sync_folder(self.file.parent)

    def remove(self) -> None:
        self.file.unlink(missing_ok=True)
        sync_folder(self.file.parent)


def start(lab: Lab, deployment: str, drill: Drill, why: str = "", *, who: str = "") -> None:
    """Have a deployment misbehave, within a second, until ``stop``. One drill at a time: the
    one before ends.

    Args:
        who: for the ledger; "": the user of this process.

    Raises:
        UsageError: there is no such deployment.
        UpstreamError: the lab does not run.
    """
    record = _running(lab)
    check_deployment(lab, deployment)
    places = _places(lab, record, deployment)
    if not places:
        raise UpstreamError(f"{deployment} does not run yet", fix="llmlab up")
    said = {"deployment": deployment, "drill": drill.model_dump(mode="json", exclude_defaults=True)}
    # Within the transaction: what the ledger tells of is in place by then.
    with Store(lab).noting("drill", said, why, who=who):
        for place in places:
            place.write(drill)


def stop(lab: Lab, deployment: str, why: str = "", *, who: str = "") -> bool:
    """Have a deployment behave again, within a second. Returns whether it was drilled."""
    record = _running(lab)
    if not MODEL_NAME.fullmatch(deployment):
        check_deployment(lab, deployment)
    # Also those of a deployment which is gone.
    places = [one for one in _places(lab, record, deployment) if one.file.exists()]
    if not places:
        check_deployment(lab, deployment)
        return False
    said = {"deployment": deployment, "drill": None}
    with Store(lab).noting("drill", said, why, who=who):
        for place in places:
            place.remove()
    return True


def forget(lab: Lab, deployments: Iterable[str]) -> None:
    """End the drills of deployments that come or go: the next one of the name is another one."""
    record = Record.read(lab)
    for place in (place for name in deployments for place in _places(lab, record, name)):
        if place.file.exists():
            place.remove()


def active(lab: Lab) -> dict[str, str]:
    """What is on, in words, by deployment. Empty for a lab that does not run."""
    record = Record.read(lab)
    if record is None:
        return {}
    found = {name: _told(_places(lab, record, name)) for name in record.deployments}
    return {name: told for name, told in found.items() if told}


def _told(places: list[_Place]) -> str:
    """In words, what is on in any of them; "" if nothing is."""
    said = dict.fromkeys(_said(one.file) for one in places if one.file.exists())
    return " and ".join(said)


def _said(file: Path) -> str:
    try:
        return str(Drill.model_validate_json(file.read_bytes()[:LARGEST]))
    except (OSError, ValueError):
        return f"none, for {file} is none"


def _running(lab: Lab) -> Record:
    record = Record.read(lab)
    if record is None:
        raise UpstreamError("the lab does not run, so nothing can be drilled", fix="llmlab up")
    return record


def _places(lab: Lab, record: Record | None, deployment: str) -> list[_Place]:
    """One for all processes of a deployment, or one for each of its containers."""
    if record is None or record.engine != "compose":
        settings = lab.state / "deployments" / f"{deployment}.json"
        return [_Place(drill_file(settings, deployment), 0o700, 0o600)]
    laid_out = sorted((lab.state / "compose").glob("*/settings.json"))
    return [
        _Place(drill_file(settings, deployment), OPEN_FOLDER, OPEN_FILE)
        for settings in laid_out
        if json.loads(settings.read_bytes())["deployment"] == deployment
    ]
