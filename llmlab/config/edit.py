"""Changing a lab.toml that people wrote: comments, order and spacing stay."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import tomlkit

from llmlab.errors import UsageError


def with_value(text: str, path: str, value: str | int | bool) -> str:
    """The text of a lab.toml with another value at a dotted path that it has a line for.

    Raises:
        UsageError: there is no such line.
    """
    document = tomlkit.parse(text)
    name, _, key = path.rpartition(".")
    table: Any = document
    for part in name.split(".") if name else ():
        if not isinstance(table, MutableMapping) or part not in table:
            raise UsageError(f"lab.toml has no table [{name}]")
        table = table[part]
    if not isinstance(table, MutableMapping) or key not in table:
        raise UsageError(f"lab.toml has no line for {path}")
    table[key] = value
    return tomlkit.dumps(document)


def with_model(text: str, name: str, values: Mapping[str, Any]) -> str:
    """The text of a lab.toml with one more table [models.NAME], behind the others.

    Raises:
        UsageError: there is one of that name, or no table of models at all: then the models that
            are built in would be gone with the first one of its own.
    """
    document = tomlkit.parse(text)
    models: Any = document.get("models")
    if not isinstance(models, MutableMapping):
        raise UsageError(
            "lab.toml has no table [models.NAME], and with the first one the models that are "
            "built in are gone",
            fix="llmlab init FOLDER lays out a lab.toml that has them; take them over",
        )
    if name in models:
        raise UsageError(
            f"lab.toml has a model {name} already",
            fix=f"choose another name, or change [models.{name}] there",
        )
    table = tomlkit.table()
    for key, value in values.items():
        if isinstance(value, Mapping):
            inline = tomlkit.inline_table()
            inline.update(value)
            value = inline
        table.add(key, value)
    models[name] = table
    return tomlkit.dumps(document)
