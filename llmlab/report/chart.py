"""Lines over time, as places on a page; a template draws them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

WIDTH, LEFT, RIGHT, ABOVE, BELOW = 640, 62, 12, 26, 26  # pixels; the letters of a phone fit
TICKS = 5  # at most, about
UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))
ROUND = (1, 2, 5, 10, 15, 20, 30, 60)

Points = Sequence[tuple[float, float | None]]  # seconds, value; None where there is none


@dataclass(frozen=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True)
class Scale:
    """From a value to pixels from the start of an axis. What lies beyond an end is drawn there."""

    low: float
    high: float
    size: float
    log: bool = False

    def place(self, value: float) -> float:
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return (value - low) / (high - low) * self.size


@dataclass(frozen=True)
class Line:
    """Args:
    look: the names of its classes, for the template's style.
    path: of SVG.
    """

    label: str
    look: str
    path: str


@dataclass(frozen=True)
class Bound:
    """A value at which something follows."""

    label: str
    look: str
    at: float


@dataclass(frozen=True)
class Panel:
    """One plot. All places in pixels of its own picture."""

    title: str
    means: str
    height: float
    lines: tuple[Line, ...]
    bounds: tuple[Bound, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]


@dataclass(frozen=True)
class Series:
    """Args:
    steps: each value holds until the next one.
    """

    label: str
    look: str
    points: Points
    steps: bool = False


@dataclass(frozen=True)
class Limit:
    label: str
    look: str
    value: float


def panel(
    title: str, means: str, series: Sequence[Series], across: Scale, up: Scale,
    name: Callable[[float], str], *, limits: Sequence[Limit] = (), ticks: Sequence[float] = (),
) -> Panel:  # fmt: skip
    """Args:
    name: of a value, at the axis.
    ticks: values that are named there; default: round ones.
    """
    bottom = ABOVE + up.size
    return Panel(
        title, means, bottom + BELOW,
        tuple(Line(one.label, one.look, _path(one, across, up)) for one in series
              if any(value is not None for _, value in one.points)),
        tuple(Bound(one.label, one.look, round(bottom - up.place(one.value), 1)) for one in limits),
        tuple(time_ticks(across)),
        tuple(
            Tick(round(bottom - up.place(one), 1), name(one)) for one in ticks or round_ticks(up)
        ),
    )  # fmt: skip


def across(seconds: float) -> Scale:
    """The time axis of something that took so long."""
    return Scale(0.0, max(seconds, 1.0), WIDTH - LEFT - RIGHT)


def up(values: Sequence[float], height: float, *, at_least: float = 0.0) -> Scale:
    """From 0 to a round number above all; logarithmic where they are far apart."""
    positive = [one for one in values if one > 0]
    top = max([*positive, at_least]) or 1.0
    if positive and top > 30 * sorted(positive)[len(positive) // 2]:
        return Scale(10.0 ** math.floor(math.log10(min(positive))), _rounded(top), height, True)
    return Scale(0.0, _rounded(top), height)


def round_ticks(scale: Scale) -> list[float]:
    if scale.log:
        low, high = math.ceil(math.log10(scale.low)), math.floor(math.log10(scale.high))
        return [10.0**power for power in range(low, high + 1)]
    half = _rounded(scale.high) / 2
    return [0.0, half, 2 * half]


def time_ticks(scale: Scale) -> Iterator[Tick]:
    unit, name = next(one for one in UNITS if scale.high >= 2 * one[0] or one[0] == 1.0)
    span = scale.high / unit
    step = next((one for one in ROUND if span / one <= TICKS), math.ceil(span / TICKS))
    for number in range(int(span / step) + 1):
        label = f"{number * step} {name}" if number else "0"
        yield Tick(round(LEFT + scale.place(number * step * unit), 1), label)


def _rounded(value: float) -> float:
    """The next of 1, 2, 4, 6, 8, 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * part for part in (1, 2, 4, 6, 8, 10) if value <= power * part * 1.0001)


def _path(series: Series, across: Scale, up: Scale) -> str:
    """Broken where there is no value; a value between two gaps is a dot, by its round ends."""
    bottom, found, open_ = ABOVE + up.size, [], False
    for seconds, value in series.points:
        if value is None:
            open_ = False
            continue
        x, y = LEFT + across.place(seconds), bottom - up.place(value)
        if not open_:
            found.append(f"M{x:.1f} {y:.1f}h0")
        else:
            found.append(f"H{x:.1f}V{y:.1f}" if series.steps else f"L{x:.1f} {y:.1f}")
        open_ = True
    if series.steps:
        found.append(f"H{LEFT + across.size:.1f}")
    return "".join(found)
