"""How figures of a running lab are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from llmlab.probe.figures import span

BARS = "▁▂▃▄▅▆▇█"
MIB = 1 << 20
NONE = "-"


def percent(value: float) -> str:
    """``25 %``, ``0.4 %``."""
    if math.isnan(value):
        return NONE
    digits = 0 if value == round(value) else 1
    return f"{value:.{digits}f} %"


def rate(value: float) -> str:
    """Per second: ``0``, ``0.25``, ``12.3``, ``1,234``."""
    if math.isnan(value):
        return NONE
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}" if value else "0"


def short(value: float) -> str:
    """``12``, ``1.2k``, ``35k``, ``1.2M``."""
    if math.isnan(value):
        return NONE
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size * 0.9995:
            return (
                f"{value / size:.1f}{unit}" if value < 9.95 * size else f"{value / size:.0f}{unit}"
            )
    return f"{value:.0f}"


def seconds(value: float) -> str:
    """``85 ms``; of a histogram, so two digits are all there is."""
    return span(float(f"{value:.2g}")) if not math.isnan(value) else NONE


def mib(value: int) -> str:
    return f"{value // MIB}" if value else NONE


def bars(values: Sequence[float], most: float) -> str:
    """A sparkline; ``most`` is what its highest bar stands for. Nothing is a space."""
    top = len(BARS) - 1
    return "".join(
        " " if not value else BARS[min(top, max(0, math.ceil(value / most * len(BARS)) - 1))]
        for value in values
    )


def counts(values: Mapping[int, int] | Mapping[str, int]) -> str:
    """``401 × 3  429 × 12``."""
    return "  ".join(f"{name} × {count:,}" for name, count in values.items())


def peak(rows: Iterable[Sequence[float]]) -> float:
    """The highest of all values; 1 of none."""
    return max((value for row in rows for value in row), default=0.0) or 1.0
