"""A comparison as one page of HTML that needs nothing else: no script, no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from llmlab.compare.comparison import (
    SHARES,
    SHOWN,
    Comparison,
    Failure,
    means,
    shown,
)
from llmlab.evaluate.facts import Kind
from llmlab.evaluate.text import words
from llmlab.models.identity import short_id
from llmlab.version import __version__

WIDTH, ROW, RIGHT = 640, 22, 96  # of a plot, in pixels
LETTER, LABEL = 9.5, 30  # the width of a letter on a phone, and the most letters of a label
RADIUS = 4
# Told apart by people with any colour vision (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999")


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
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("llmlab.compare", "templates"), autoescape=True,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    left = 12 + LETTER * max(len(_label(one.name)) for one in comparison.models)
    environment.filters |= {"short": short_id, "shown": shown}
    return environment.get_template("comparison.html.j2").render(
        comparison=comparison,
        colours={one.name: colour for one, colour in zip(comparison.models, _colours())},  # noqa: B905
        plots=list(_plots(comparison, left)),
        metrics=[(name, means(name)) for name in SHOWN],
        words=words,
        failed=Failure,
        kinds=((Kind.NAME, "names"), (Kind.NUMBER, "numbers")),
        date=f"{now or datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        version=__version__,
        plot_size={"width": WIDTH, "left": left, "right": WIDTH - RIGHT, "radius": RADIUS},
    )


def _colours() -> Iterator[str]:
    while True:
        yield from COLOURS


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
        for number, (model, colour) in enumerate(zip(values, _colours())):  # noqa: B905
            found = values[model]
            if not found:
                continue
            y = ROW * (number + 0.5)
            mean = sum(found) / len(found)
            dots = tuple(Dot(at(value), y, shown(metric, value)) for value in found)
            lines.append(Line(model, _label(model), y, colour, dots, at(mean), shown(metric, mean)))
        yield Plot(metric, means(metric), shown(metric, 0.0), shown(metric, high), tuple(lines))
