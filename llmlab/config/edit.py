"""Setting single values in a lab.toml that people wrote: comments and order stay."""

from __future__ import annotations

import json
import re

from llmlab.errors import UsageError


def with_value(text: str, path: str, value: str | int | bool) -> str:
    """The text of a lab.toml with another value at a dotted path that it has a line for.

    Raises:
        UsageError: there is no such line.
    """
    table, _, key = path.rpartition(".")
    start, end = _table(text, table)
    line = re.compile(rf"(?m)^{re.escape(key)}[ \t]*=[ \t]*(\"[^\"\n]*\"|[^#\n]*?)(?=[ \t]*(#|$))")
    changed, count = line.subn(lambda _: f"{key} = {json.dumps(value)}", text[start:end], count=1)
    if not count:
        raise UsageError(f"lab.toml has no line for {path}")
    return text[:start] + changed + text[end:]


def _table(text: str, name: str) -> tuple[int, int]:
    """Where the lines of a table begin and end; "" is what stands before the first one."""
    heads = [*re.finditer(r"(?m)^\[([^\[\]]+)\]", text)]
    bounds = [("", 0), *((head[1].strip(), head.end()) for head in heads)]
    ends = [*(head.start() for head in heads), len(text)]
    for (found, start), end in zip(bounds, ends, strict=True):
        if found == name:
            return start, end
    raise UsageError(f"lab.toml has no table [{name}]")
