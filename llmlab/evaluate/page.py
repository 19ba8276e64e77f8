"""An evaluation as one page of HTML: the verdict and why, scores, the worst texts, all texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from llmlab.evaluate.comparison import Comparison
from llmlab.evaluate.evaluation import Evaluation
from llmlab.evaluate.gate import parse_gate
from llmlab.evaluate.measures import METRICS, Better
from llmlab.evaluate.verdict import Finding, Outcome
from llmlab.report.page import colour, rendered

MARKS = {Outcome.PASS: "✓", Outcome.FAIL: "✗", Outcome.INCONCLUSIVE: "?"}
ARROWS = {Better.HIGHER: "↑", Better.LOWER: "↓", Better.NEITHER: ""}
SURE = 0.05  # p values up to which a difference is called clear
WIDTH, HEIGHT, SIDE = 320, 26, 8  # of the picture of an interval, in pixels


@dataclass(frozen=True)
class Score:
    """A metric of all models.

    Args:
        values: of each model, in their order.
        interval: of the judged one, 95 %.
    """

    metric: str
    arrow: str
    means: str
    values: tuple[str, ...]
    interval: str


@dataclass(frozen=True)
class Difference:
    """``clear``: better, worse, or "" for what may be chance."""

    metric: str
    difference: str
    interval: str
    p: str
    effect: str
    counts: str
    clear: str


@dataclass(frozen=True)
class Picture:
    """A condition of the gate: its bound, and the interval beside it. Places in pixels.

    Args:
        good: from where to where the interval has to lie.
    """

    low: float
    high: float
    estimate: float
    bound: float
    good: tuple[float, float]
    labels: tuple[str, str]


def page(evaluation: Evaluation, *, now: datetime | None = None) -> str:
    """Args:
    now: what it is dated with.
    """
    return rendered(
        "evaluation.html.j2",
        now=now,
        evaluation=evaluation,
        digest=evaluation.suite.digest.removeprefix("sha256:")[:12],
        options=", ".join(f"{name} {value}" for name, value in evaluation.options.items()),
        colours={one.name: colour(place) for place, one in enumerate(evaluation.judged)},
        marks=MARKS,
        pictures=[picture(one) for one in evaluation.verdict.findings]
        if evaluation.verdict
        else [],
        scores=list(scores(evaluation)),
        differences=[difference(one) for one in evaluation.comparisons],
        failures=[
            (one.name, case, error.message)
            for one in evaluation.judged
            for case, error in one.failures.items()
        ],
        size={"width": WIDTH, "height": HEIGHT},
    )


def scores(evaluation: Evaluation) -> Iterator[Score]:
    """The metrics that some model has a value of."""
    for place, metric in enumerate(METRICS.values()):
        levels = [one.levels[place] for one in evaluation.judged]
        if not any(one.n for one in levels):
            continue
        found = levels[0].interval
        interval = f"{number(found.low)} … {number(found.high)}" if found else ""
        yield Score(
            metric.name, ARROWS[metric.better], metric.means,
            tuple(number(one.value) for one in levels), interval,
        )  # fmt: skip


def difference(one: Comparison) -> Difference:
    better = METRICS[one.metric].better
    counts = (one.wins, one.ties, one.losses)
    clear = ""
    if one.p_holm <= SURE and better is not Better.NEITHER and one.difference:
        clear = "better" if (one.difference > 0) == (better is Better.HIGHER) else "worse"
    return Difference(
        one.metric, f"{one.difference:+.4f}",
        f"{one.interval.low:+.4f} … {one.interval.high:+.4f}", f"{one.p_holm:.4f}",
        "" if one.effect is None else f"{one.effect:+.2f}",
        " / ".join(str(count) for count in counts if count is not None), clear,
    )  # fmt: skip


def picture(one: Finding) -> Picture | None:
    """None where nothing was measured."""
    if one.interval is None or one.estimate is None:
        return None
    (condition,) = parse_gate(one.condition).conditions
    shown = [one.interval.low, one.interval.high, one.estimate, condition.bound]
    low, high = min(shown), max(shown)
    edge = 0.12 * (high - low) or 0.1 * abs(high) or 0.1
    low, high = low - edge, high + edge

    def at(value: float) -> float:
        return round(SIDE + (value - low) / (high - low) * (WIDTH - 2 * SIDE), 1)

    bound = at(condition.bound)
    good = (bound, float(WIDTH - SIDE)) if condition.at_least else (float(SIDE), bound)
    return Picture(
        at(one.interval.low), at(one.interval.high), at(one.estimate), bound, good,
        (number(one.interval.low), number(one.interval.high)),
    )  # fmt: skip


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
