"""What replicas log, taken over into the lab's folder; and up to where: a file in the lab's state,
for the placer that comes after this one."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from llmlab.engines.local.programs import API_PREFIX
from llmlab.engines.ray.wanted import folder_of
from llmlab.files import write_atomically
from llmlab.lab import Lab
from llmlab.rotation import LOG_BACKUPS, LOG_BYTES, RotatingLog

PLACE = r"\d+:\d+:\d+"  # see engines.local.access_log
_CURSORS = TypeAdapter(dict[str, Annotated[str, Field(pattern=rf"^(0|{PLACE}(,{PLACE})*)$")]])


class Logs:
    """What replicas log, in the lab's folder, as if they were its own processes."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._open: dict[str, RotatingLog] = {}

    def write(self, process: str, lines: Iterable[str]) -> None:
        if process not in self._open:
            file = self._lab.logs / f"{API_PREFIX}{process}.log"
            self._open[process] = RotatingLog(file, maxBytes=LOG_BYTES, backupCount=LOG_BACKUPS)
        for line in lines:
            self._open[process].emit(logging.makeLogRecord({"msg": line}))


def read_cursors(lab: Lab) -> dict[str, str]:
    """{actor: cursor}. Where nobody knows, lines are taken over a second time."""
    try:
        return _CURSORS.validate_json(_file(lab).read_bytes())
    except (OSError, ValueError):
        return {}


def write_cursors(lab: Lab, cursors: Mapping[str, str]) -> None:
    write_atomically(_file(lab), json.dumps(dict(cursors), indent=1) + "\n")


def _file(lab: Lab) -> Path:
    return folder_of(lab) / "cursors.json"
