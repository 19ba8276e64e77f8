"""Up to where the lab has taken over what replicas have logged: a file in the lab's state, for the
placer that comes after this one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from llmlab.engines.ray.wanted import folder_of
from llmlab.files import write_atomically
from llmlab.lab import Lab

PLACE = r"\d+:\d+:\d+"  # see engines.local.access_log
_CURSORS = TypeAdapter(dict[str, Annotated[str, Field(pattern=rf"^(0|{PLACE}(,{PLACE})*)$")]])


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
