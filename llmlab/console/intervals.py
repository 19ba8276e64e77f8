"""Estimates with their intervals, drawn on one line each; a template draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmlab.evaluate.gate import Against, GateError, parse_gate
from llmlab.evaluate.measures import METRICS
from llmlab.report.chart import Scale

WIDTH, SIDE, LANE = 240.0, 10.0, 16.0  # of a drawing, beside its axis, and for each estimate
ROUND = (1.0, 2.0, 2.5, 4.0, 5.0, 8.0, 10.0)


@dataclass(frozen=True)
class Estimate:
    """Args:
    text: the value, and its interval, in words.
    n: texts that it rests on.
    """

    value: float
    low: float
    high: float
    n: int

    @property
    def text(self) -> str:
        return f"{self.value:.3g}"

    @property
    def interval(self) -> str:
        """``0.58 to 0.67``, "" where there is none."""
        return "" if self.low == self.high == self.value else f"{self.low:.3g} to {self.high:.3g}"


@dataclass(frozen=True)
class Drawn:
    """One estimate on its line. ``look``: which of several."""

    y: float
    left: float
    right: float
    at: float
    look: str


@dataclass(frozen=True)
class Compared:
    """A metric: of one model, or of two on one axis.

    Args:
        means: what it is, in a few words.
        estimates: None where that model has no value.
        bound: that a gate asks for, as a place; None without one.
        asked: the same in words; "" without one.
        low, high: the ends of the axis.
    """

    metric: str
    means: str
    estimates: tuple[Estimate | None, ...]
    lines: tuple[Drawn, ...]
    bound: float | None
    asked: str
    low: str
    high: str

    width = WIDTH

    @property
    def height(self) -> float:
        return LANE * len(self.estimates) + 6


def compared(evaluations: Sequence[Mapping[str, Any] | None]) -> list[Compared]:
    """The metrics of one evaluation, or of two side by side, in the order of the metrics.

    Args:
        evaluations: as a record keeps them; None where a model has none by that suite.
    """
    there = [one.get("metrics", {}) if one else {} for one in evaluations]
    names = {name for one in there for name in one}
    known = [name for name in METRICS if name in names]
    bounds = _bounds(evaluations[0]) if len(evaluations) == 1 else {}
    made = (_compared(name, [_estimate(one.get(name)) for one in there], bounds.get(name))
            for name in [*known, *sorted(names - set(known))])  # fmt: skip
    return [one for one in made if one]


def _estimate(level: Mapping[str, Any] | None) -> Estimate | None:
    if not level or level.get("value") is None:
        return None
    value, within = float(level["value"]), level.get("interval") or {}
    return Estimate(
        value, float(within.get("low", value)), float(within.get("high", value)),
        int(level.get("n", 0)),
    )  # fmt: skip


def _bounds(evaluation: Mapping[str, Any] | None) -> dict[str, tuple[float, str]]:
    """{metric: the plain bound of the gate that it was judged by, and how that is written}."""
    verdict = evaluation.get("verdict") if evaluation else None
    try:
        gate = parse_gate(verdict["gate"]) if verdict else None
    except GateError:  # of another version, or from elsewhere: it is told in words
        return {}
    return {
        one.metric.name: (one.bound, one.text) for one in (gate.conditions if gate else ())
        if one.against is Against.VALUE
    }  # fmt: skip


def _compared(
    name: str, estimates: Sequence[Estimate | None], bound: tuple[float, str] | None
) -> Compared | None:
    there = [one for one in estimates if one]
    if not there:
        return None
    values = [end for one in there for end in (one.low, one.high, one.value)]
    values += [bound[0]] if bound else []
    low, high = min(0.0, *values), _rounded(max(*values, 0.0))
    scale = Scale(low, high, WIDTH - 2 * SIDE)

    def place(value: float) -> float:
        return round(SIDE + scale.place(value), 1)

    lines = tuple(
        Drawn(LANE * (number + 0.5) + 2, place(one.low), place(one.high), place(one.value),
              "ab"[number])
        for number, one in enumerate(estimates) if one
    )  # fmt: skip
    return Compared(
        name, METRICS[name].means if name in METRICS else "", tuple(estimates), lines,
        place(bound[0]) if bound else None, bound[1] if bound else "",
        f"{low:.3g}", f"{high:.3g}",
    )  # fmt: skip


def _rounded(value: float) -> float:
    """1 for a share; else the next round number."""
    if value <= 1.0:
        return 1.0 if value > 0.1 else 0.1
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * part for part in ROUND if value <= power * part * 1.0001)
