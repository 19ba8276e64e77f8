"""Where each replica may never be, for it was made so: a file in the lab's state, for the placer
that comes after this one. Ray keeps to it for ever, and does not say."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from pydantic import TypeAdapter

from llmlab.engines.ray.wanted import folder_of
from llmlab.files import write_atomically
from llmlab.lab import Lab

_BARRED = TypeAdapter(dict[str, frozenset[str]])


def read_barred(lab: Lab) -> dict[str, frozenset[str]]:
    """{actor: ids of nodes}. Where nobody knows, one that is not heard of is replaced once."""
    try:
        return _BARRED.validate_json(_file(lab).read_bytes())
    except (OSError, ValueError):
        return {}


def write_barred(lab: Lab, barred: Mapping[str, Collection[str]]) -> None:
    rows = {name: sorted(ids) for name, ids in barred.items()}
    write_atomically(_file(lab), json.dumps(rows, indent=1) + "\n")


def _file(lab: Lab) -> Path:
    return folder_of(lab) / "barred.json"
