"""How steps and times are written on a command line: ``5,25,50,100``, ``90s``, ``5m``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from llmlab.errors import UsageError

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_steps(text: str) -> tuple[float, ...]:
    """Percentages that rise, the last of which is 100."""
    try:
        steps = tuple(float(part.strip().removesuffix("%")) for part in text.split(","))
    except ValueError:
        raise _wrong(text) from None
    return checked_steps(steps)


def checked_steps(steps: Sequence[float]) -> tuple[float, ...]:
    rises = all(a < b for a, b in pairwise(steps))
    if not steps or not rises or steps[0] <= 0 or steps[-1] != 100:
        raise _wrong(",".join(f"{one:g}" for one in steps))
    return tuple(steps)


def parse_seconds(text: str) -> float:
    """``60``, ``60s``, ``5m``, ``1h``: seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h|)", text.strip(), re.ASCII)
    if not found:
        raise UsageError(f"{text!r} is no time", fix="write it as 60s, 5m or 1h")
    return float(found[1]) * UNITS[found[2]]


def _wrong(text: str) -> UsageError:
    return UsageError(
        f"the steps {text!r} should be percentages that rise, and end with 100",
        fix="--steps 5,25,50,100",
    )
