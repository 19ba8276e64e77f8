"""A run as a PNG, by matplotlib."""

from __future__ import annotations

import io
from importlib.util import find_spec
from typing import Any

from llmlab.errors import EnvironmentFailure
from llmlab.probe.figures import Figures, span
from llmlab.probe.load import Run
from llmlab.probe.page import KINDS, per_column, thinned, uneven

COLOURS = dict(zip(KINDS, ("#1f77b4", "#2ca089", "#e8930c", "#d62f4b", "#7b2d8b"), strict=True))


def need_matplotlib() -> None:
    """Raises EnvironmentFailure without it: better before a run than after."""
    if not find_spec("matplotlib"):
        raise EnvironmentFailure(
            "a PNG is drawn by matplotlib, which is not installed",
            fix="pip install 'llmlab[notebook]'; or name a file .html, which needs nothing",
        )


def png(run: Run, title: str) -> bytes:
    """Latency over time as dots coloured by what became of the request, answers/s below."""
    from matplotlib.figure import Figure

    page = Figure(figsize=(10, 6.5), layout="constrained", dpi=120)
    above, below = page.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    page.suptitle(title, fontsize=11, parse_math=False)
    _latency(above, run)
    _throughput(below, run)
    file = io.BytesIO()
    page.savefig(file, format="png")
    return file.getvalue()


def _latency(axes: Any, run: Run) -> None:
    shots = thinned(run.shots)
    for kind in reversed(KINDS):  # summaries on top
        of_kind = [shot for shot in shots if shot.kind == kind]
        if of_kind:
            axes.scatter(
                [shot.start for shot in of_kind], [shot.latency for shot in of_kind],
                s=9, alpha=0.6, linewidths=0, color=COLOURS[kind], label=kind,
            )  # fmt: skip
    latency = Figures.of(run).latency
    for name in ("p50", "p95", "p99"):
        value = getattr(latency, name)
        if value == value:  # not nan
            axes.axhline(value, color="black", lw=0.8, ls="--", alpha=0.5)
            axes.text(
                1.005, value, f"{name} {span(value)}", fontsize=8, va="center",
                transform=axes.get_yaxis_transform(),
            )  # fmt: skip
    axes.set_ylabel("latency, s")
    if uneven([shot.latency for shot in shots]):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    if shots:
        axes.legend(loc="upper left", fontsize=8, ncols=len(KINDS))


def _throughput(axes: Any, run: Run) -> None:
    columns, width = per_column(run)
    lefts = [place * width for place in range(len(columns))]
    bottoms = [0.0] * len(columns)
    for kind in KINDS:
        rates = [column[kind] / width for column in columns]
        axes.bar(lefts, rates, width * 0.97, bottoms, align="edge", color=COLOURS[kind], alpha=0.7)
        bottoms = [below + rate for below, rate in zip(bottoms, rates, strict=True)]
    middles = [left + width / 2 for left in lefts]
    axes.plot(middles, bottoms, color="black", lw=1)
    axes.set_ylabel("answers/s")
    axes.set_xlabel("seconds")
    axes.grid(alpha=0.25)
