"""Setting single values in a lab.toml that people wrote: comments, order and spacing stay."""

from __future__ import annotations

from collections.abc import MutableMapping
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
