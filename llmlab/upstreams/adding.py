"""Writing a model elsewhere into lab.toml. Its key is never part of it: only where that stands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmlab.config import Model
from llmlab.config.edit import with_model
from llmlab.config.load import checked_text
from llmlab.errors import UsageError
from llmlab.files import write_atomically
from llmlab.lab import Lab
from llmlab.upstreams import keys


def add(lab: Lab, name: str, values: Mapping[str, Any]) -> Model:
    """Add [models.NAME] to a lab's lab.toml, once all of it is as it has to be.

    Args:
        values: the table; what is empty is left out.

    Raises:
        UsageError: the name is taken, or a value is wrong.
        AuthError: the key's file is not there, or others may read it.
    """
    file = lab.config_file
    said = {"runtime": "openai"} | {key: value for key, value in values.items() if value}
    text = with_model(file.read_text(encoding="utf-8-sig"), name, said)
    model = checked_text(text, file).models[name]
    if model.key_file:
        found = keys.place(model, lab)
        assert found
        keys.read(found, name)
    write_atomically(file, text, file.stat().st_mode & 0o777)
    return model


def in_lab(path: Path | None, lab: Lab) -> str:
    """A path as lab.toml says it: relative to the lab, where it lies in there; "" for none."""
    if path is None:
        return ""
    whole = path.expanduser().absolute()
    return str(whole.relative_to(lab.root) if whole.is_relative_to(lab.root) else whole)


def headers_of(given: list[str]) -> dict[str, str]:
    """``NAME=VALUE`` each.

    Raises:
        UsageError: one is not, or is there twice.
    """
    found: dict[str, str] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name or name in found:
            # Only the name: the rest may be a secret that should not be here.
            raise UsageError(f"--header {name}: it takes NAME=VALUE, each name once")
        found[name] = value
    return found
