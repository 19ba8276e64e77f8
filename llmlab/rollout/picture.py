"""How a rollout went, as plots over time: shares, errors, latency, and the wealth of the bets.

Everything is drawn from what the controller wrote down while it judged: the plots show what the
gate saw, and need neither a running lab nor the gateway's log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from llmlab.report.chart import LEFT, WIDTH, Limit, Panel, Scale, Series, across, panel, up
from llmlab.rollout.report import Report, moment_of
from llmlab.rollout.state import Kind
from llmlab.rollout.trail import Moment, Told

WINDOW, PARTS = 10.0, 30  # a share is of so many seconds at least, and of such a part of the whole
HEIGHT, LOW = 150.0, 110.0  # of plots, in pixels
POOREST, RICHEST = 0.01, 1000.0  # wealth that is drawn at least; what is beyond, at the edge
APART = 44.0  # pixels between two marks; nearer ones are one
MARKED = ("rollout", "drill")  # kinds of entries that are marked

Values = Callable[[Told], float | None]


@dataclass(frozen=True)
class Mark:
    """Entries of the ledger, at the place of the first. ``label``: their numbers."""

    x: float
    label: str

    @property
    def anchor(self) -> str:
        """Where the label begins, so that all of it is on the picture."""
        return "end" if self.x > WIDTH - APART else "middle"


def measured(report: Report) -> dict[str, float]:
    """{deployment: the percent of the requests that it has answered of late}; empty where nothing
    was asked."""
    found = [
        (name, share)
        for arm, name, _ in _arms(report)
        for _, before, after in list(_windows(report))[-1:]
        if (share := _share(before, after, arm)) is not None
    ]
    return dict(found)


def panels(report: Report) -> Iterator[Panel]:
    """What clients got: shares, errors, latency."""
    time = across(report.took)
    yield _shares(report, time)
    if not report.moments:
        return
    moments = list(_windows(report))
    errors = [
        Series(
            name, look, [(at, _errors(before, after)) for at, before, after in _of(moments, arm)]
        )
        for arm, name, look in _arms(report)
    ]
    yield panel(
        "Errors", f"percent of the answers, within {_window(report):.0f} s", errors, time,
        up(_values(errors), LOW, at_least=1.0), _percent,
    )  # fmt: skip
    latency = [
        Series(f"{name} {which}", f"{look}{style}", [
            (one.at - report.rollout.created, getattr(getattr(one, arm), which))
            for one in report.moments
        ])
        for arm, name, look in _arms(report)
        for which, style in (("p50", ""), ("p95", " dashed"))
    ]  # fmt: skip
    yield panel(
        "Latency", "of the newest 200 answers of each", latency, time,
        up(_values(latency), HEIGHT), seconds,
    )  # fmt: skip


def wealth(report: Report) -> Iterator[Panel]:
    """What the bets had come to: of each metric, for and against the candidate."""
    time = across(report.took)
    for metric in dict.fromkeys(name for one in report.moments for name in one.wealth):
        known = [
            (one.at - report.rollout.created, one.wealth[metric])
            for one in report.moments
            if metric in one.wealth
        ]
        last = known[-1][1]
        most = max(RICHEST, 2 * last.fail_at, 2 * last.pass_at)
        series = [
            Series("against it", "against", [(at, one.worse) for at, one in known]),
            Series("for it, from each step anew", "good", [(at, one.as_good) for at, one in known]),
        ]
        limits = [
            Limit(f"taken back at {last.fail_at:.3g}", "against", last.fail_at),
            Limit(f"passes at {last.pass_at:.3g}", "good", last.pass_at),
        ]
        scale = Scale(POOREST, most, LOW, log=True)
        yield panel(
            metric, "wealth of the bets", series, time, scale, lambda value: f"{value:g}",
            limits=limits, ticks=[one for one in (0.01, 1, 100, 10_000) if one <= most],
        )  # fmt: skip


def marks(report: Report) -> list[Mark]:
    """When what is in the ledger happened; entries that are close together are one mark."""
    time, found = across(report.took), list[tuple[float, list[int]]]()
    for entry in report.entries:
        if entry.kind not in MARKED:
            continue
        x = LEFT + time.place(moment_of(entry) - report.rollout.created)
        if found and x - found[-1][0] < APART:
            found[-1][1].append(entry.seq)
        else:
            found.append((x, [entry.seq]))
    return [
        Mark(round(x, 1), f"{seqs[0]}–{seqs[-1]}" if len(seqs) > 1 else str(seqs[0]))
        for x, seqs in found
    ]


def seconds(value: float) -> str:
    """At an axis: ``0``, ``20 ms``, ``1.5 s``."""
    if value >= 1:
        return f"{value:g} s"
    return f"{1000 * value:g} ms" if value else "0"


def _shares(report: Report, time: Scale) -> Panel:
    one = report.rollout
    shares, shadow = list(report.shares()), one.kind is Kind.SHADOW
    wanted = [
        Series(f"{name}, wanted", f"{look} thin", [
            (each.at - one.created, each.percent.get(name, 0.0)) for each in shares
        ], steps=True)
        for arm, name, look in _arms(report)
        if not (shadow and arm == "base")
    ]  # fmt: skip
    measured = [] if shadow else [
        Series(f"{name}, measured", look, [
            (at, _share(before, after, arm)) for at, before, after in _windows(report)
        ])
        for arm, name, look in _arms(report)
        if any(getattr(each, arm).requests for each in report.moments)
    ]  # fmt: skip
    means = "percent of the requests" + (", copied" if shadow else "")
    scale = Scale(0.0, 100.0, HEIGHT)
    return panel(
        "Share", means, [*measured, *wanted], time, scale, _percent, ticks=(0, 25, 50, 75, 100)
    )


def _arms(report: Report) -> tuple[tuple[str, str, str], ...]:
    """(which of a moment's, its name, its look)."""
    one = report.rollout
    return (
        ("tested", one.candidate.deployment, "tested"), ("base", one.base.deployment, "base")
    )  # fmt: skip


def _window(report: Report) -> float:
    return max(WINDOW, report.took / PARTS)


def _windows(report: Report) -> Iterator[tuple[float, Moment | None, Moment]]:
    """(seconds since it began, the moment a window before, the moment); None: the beginning."""
    moments, first = report.moments, 0
    for one in moments:
        while moments[first].at < one.at - _window(report):
            first += 1
        yield one.at - report.rollout.created, moments[first - 1] if first else None, one


def _of(
    windows: Sequence[tuple[float, Moment | None, Moment]], arm: str
) -> Iterator[tuple[float, Told | None, Told]]:
    for at, before, after in windows:
        yield at, getattr(before, arm) if before else None, getattr(after, arm)


def _errors(before: Told | None, after: Told) -> float | None:
    requests = after.requests - (before.requests if before else 0)
    errors = after.errors - (before.errors if before else 0)
    return 100 * errors / requests if requests > 0 else None


def _share(before: Moment | None, after: Moment, arm: str) -> float | None:
    counts = {
        name: getattr(after, name).requests - (getattr(before, name).requests if before else 0)
        for name in ("tested", "base")
    }
    total = sum(counts.values())
    return 100 * counts[arm] / total if total > 0 else None


def _values(series: Sequence[Series]) -> list[float]:
    return [value for one in series for _, value in one.points if value is not None]


def _percent(value: float) -> str:
    return f"{value:g} %"
