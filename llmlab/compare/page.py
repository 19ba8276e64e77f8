"""A comparison as one page of HTML that needs nothing else: no script, no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from llmlab.compare.comparison import (
    SHARES,
    SHOWN,
    Comparison,
    means,
    shown,
)
from llmlab.evaluate.facts import Kind
from llmlab.evaluate.text import words
from llmlab.report.page import colour, rendered

WIDTH, ROW, RIGHT = 640, 22, 96  # of a plot, in pixels
LETTER, LABEL = 9.5, 30  # the width of a letter on a phone, and the most letters of a label
RADIUS = 4


@dataclass(frozen=True)
class Dot:
    """One text's value; ``x`` and ``y`` in pixels."""

    x: float
    y: float
    title: str


@dataclass(frozen=True)
class Line:
    """One model in a plot."""

    model: str
    label: str
    y: float
    colour: str
    dots: tuple[Dot, ...]
    mean: float
    mean_shown: str


@dataclass(frozen=True)
class Plot:
    """One metric: a line per model, a dot per text, a stroke at the mean."""

    metric: str
    means: str
    low: str
    high: str
    lines: tuple[Line, ...]

    @property
    def height(self) -> int:
        return ROW * len(self.lines) + 24


def page(comparison: Comparison, *, now: datetime | None = None) -> str:
    """The page.

    Args:
        now: what it is dated with.
    """
    left = 12 + LETTER * max(len(_label(one.name)) for one in comparison.models)
    return rendered(
        "comparison.html.j2",
        now=now,
        comparison=comparison,
        colours={one.name: colour(place) for place, one in enumerate(comparison.models)},
        plots=list(_plots(comparison, left)),
        metrics=[(name, means(name)) for name in SHOWN],
        shown=shown,
        words=words,
        kinds=((Kind.NAME, "names"), (Kind.NUMBER, "numbers")),
        plot_size={"width": WIDTH, "left": left, "right": WIDTH - RIGHT, "radius": RADIUS},
    )


def _label(name: str) -> str:
    return name if len(name) <= LABEL else f"{name[: LABEL - 1]}…"


def _plots(comparison: Comparison, left: float) -> Iterator[Plot]:
    for metric in SHOWN:
        values = {one.name: comparison.values(one.name, metric) for one in comparison.models}
        every = [value for of_model in values.values() for value in of_model]
        if not every:
            continue
        high = 1.0 if metric in SHARES else max(every)
        span = high or 1.0

        def at(value: float, span: float = span) -> float:
            return round(left + (WIDTH - left - RIGHT) * value / span, 1)

        lines = []
        for number, (model, found) in enumerate(values.items()):
            if not found:
                continue
            y = ROW * (number + 0.5)
            mean = sum(found) / len(found)
            dots = tuple(Dot(at(value), y, shown(metric, value)) for value in found)
            lines.append(
                Line(
                    model, _label(model), y, colour(number), dots, at(mean), shown(metric, mean)
                )
            )  # fmt: skip
        yield Plot(metric, means(metric), shown(metric, 0.0), shown(metric, high), tuple(lines))
