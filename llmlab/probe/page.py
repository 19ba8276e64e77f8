"""A run as one HTML file: latency over time, throughput, percentiles. No script, no network."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from llmlab.probe.figures import Figures, span
from llmlab.probe.load import Run
from llmlab.probe.shots import Shot

# A browser draws so many at ease; of a longer run, every n-th request is drawn.
MOST_DOTS = 20_000
WIDTH, LEFT, RIGHT = 960, 64, 100
LATENCY_HEIGHT, RATE_HEIGHT = 360, 150
COLUMNS = 60  # bars of throughput at most; else one a second
LOG_FROM = 30.0  # the longest latency over the median that a linear axis shows well
QUANTILES = ("p50", "p95", "p99")
# What became of a request; also readable without colours, by the order in the legend.
KINDS = ("summary", "cached", "refused", "error", "no answer")

STYLE = """
:root { color-scheme: light dark; --bg: #fff; --fg: #1d2733; --dim: #67727e; --grid: #e4e8ec;
  --summary: #1f77b4; --cached: #2ca089; --refused: #e8930c; --error: #d62f4b;
  --no-answer: #7b2d8b; }
@media (prefers-color-scheme: dark) { :root { --bg: #14191f; --fg: #e4e8ec; --dim: #98a3ae;
  --grid: #2a323b; --summary: #5aa9e6; --cached: #4cc9b0; --refused: #f6ae3f; --error: #ff6b81;
  --no-answer: #c28bd0; } }
body { background: var(--bg); color: var(--fg); font: 15px/1.45 system-ui, sans-serif;
  max-width: 960px; margin: 32px auto; padding: 0 20px; }
h1 { font-size: 21px; margin: 0 0 2px; overflow-wrap: anywhere; }
h2 { font-size: 15px; margin: 26px 0 6px; }
p { margin: 0; color: var(--dim); }
svg { width: 100%; height: auto; display: block; font: 12px system-ui, sans-serif; }
svg text { fill: var(--dim); }
.plot { overflow-x: auto; }
@media (max-width: 34rem) { body { margin: 16px auto; } svg { min-width: 50rem; } }
.grid { stroke: var(--grid); stroke-width: 1; }
.mark { stroke: var(--fg); stroke-width: 1; stroke-dasharray: 5 4; opacity: .55; }
.mark-name { fill: var(--fg); }
circle { fill-opacity: .6; }
rect { fill-opacity: .55; }
.rate { fill: none; stroke: var(--fg); stroke-width: 1.5; stroke-linejoin: round; }
.summary { fill: var(--summary); } .cached { fill: var(--cached); }
.refused { fill: var(--refused); } .error { fill: var(--error); }
.no-answer { fill: var(--no-answer); }
.cards { display: flex; flex-wrap: wrap; gap: 10px 34px; margin: 18px 0 4px; }
.cards b { display: block; font-size: 22px; font-weight: 600; }
.cards span, .legend { color: var(--dim); font-size: 13px; }
.legend i { display: inline-block; width: 10px; height: 10px; border-radius: 5px;
  margin: 0 5px 0 0; }
.legend span { margin-right: 18px; }
i.summary { background: var(--summary); } i.cached { background: var(--cached); }
i.refused { background: var(--refused); } i.error { background: var(--error); }
i.no-answer { background: var(--no-answer); }
"""


@dataclass(frozen=True)
class Axis:
    """From a value to a place on the page."""

    ticks: tuple[float, ...]
    place: Callable[[float], float]


def html(run: Run, title: str, notes: Sequence[str]) -> str:
    """The whole page. Well-formed XML too, so that tools can read the dots.

    Args:
        notes: lines under the title.
    """
    figures = Figures.of(run)
    shots = thinned(run.shots)
    thin = "" if len(shots) == len(run.shots) else f" ({len(shots)} of {len(run.shots)} drawn)"
    counted = Counter(shot.kind for shot in run.shots)
    called = "answers" if figures.streams else "summaries"
    return f"""<!DOCTYPE html>
<html lang="en" xmlns="http://www.w3.org/1999/xhtml">
<head><meta charset="utf-8" /><meta name="viewport" content="width=device-width" />
<title>{escape(title)}</title><style>{STYLE}</style></head>
<body>
<h1>{escape(title)}</h1>
{"".join(f"<p>{escape(note)}</p>" for note in notes)}
<div class="cards">{"".join(_cards(figures))}</div>
<h2>Latency over time{thin}; dashed: percentiles of {called}</h2>
<p class="legend">{"".join(_legend(counted, called))}</p>
{_latency(shots, figures, run.seconds)}
<h2>Answers a second</h2>
{_throughput(run)}
</body></html>
"""


def thinned(shots: Sequence[Shot]) -> Sequence[Shot]:
    """At most ``MOST_DOTS`` of the requests, evenly over the run, the slowest among them."""
    if len(shots) <= MOST_DOTS:
        return shots
    step = math.ceil(len(shots) / (MOST_DOTS - 1))
    slowest = max(shots, key=lambda shot: shot.latency)
    return [*shots[::step], slowest]


def axis(values: Sequence[float], size: float, *, log: bool = False) -> Axis:
    """Round ticks from 0 (or, on a logarithmic axis, from below the smallest) to above all."""
    top = max((value for value in values if value > 0), default=1.0)
    if log:
        low = math.floor(math.log10(max(min(values), top / 1e4)))
        high = max(low + 1, math.ceil(math.log10(top)))
        ticks = tuple(10.0**power for power in range(low, high + 1))
        return Axis(
            ticks, lambda value: (math.log10(max(value, ticks[0])) - low) / (high - low) * size
        )
    step = _step(top)
    count = math.ceil(top / step - 1e-9)
    return Axis(_multiples(step, count), lambda value: value / (step * count) * size)


def time_axis(seconds: float, size: float) -> Axis:
    """Round ticks within a run, which fills the whole width."""
    step = _step(seconds)
    return Axis(_multiples(step, int(seconds / step)), lambda value: value / seconds * size)


def _step(top: float) -> float:
    """A round number of which a handful make up ``top``."""
    power = 10.0 ** math.floor(math.log10(top))
    return next(power * part for part in (0.2, 0.5, 1, 2) if top <= power * part * 7.001)


def _multiples(step: float, count: int) -> tuple[float, ...]:
    return tuple(step * number for number in range(count + 1))


def uneven(seconds: Sequence[float]) -> bool:
    """Whether latencies are too far apart for a linear axis."""
    ordered = sorted(seconds)
    return bool(ordered) and ordered[-1] > LOG_FROM * ordered[len(ordered) // 2] > 0


# --- pieces of the page --------------------------------------------------------


def _cards(figures: Figures) -> Iterable[str]:
    latency = figures.latency
    shown = {
        "answers/s" if figures.streams else "texts/s": f"{figures.texts_per_second:.3g}",
        "requests/s": f"{figures.requests_per_second:.3g}",
        "p50": span(latency.p50), "p95": span(latency.p95), "p99": span(latency.p99),
        "slowest": span(latency.max),
        "failed" if figures.streams else "without a summary":
            "-" if math.isnan(figures.failed) else f"{figures.failed:.1%}",
    }  # fmt: skip
    if streams := figures.streams:
        shown |= {
            "tokens/s": f"{figures.tokens_out_per_second:.3g}",
            "tokens/s of a stream": f"{streams.rate.p50:.3g}",
            **{f"first token, {one}": span(getattr(streams.first_token, one)) for one in QUANTILES},
            **{f"gap, {one}": span(getattr(streams.gaps, one)) for one in QUANTILES},
            "longest gap": span(streams.gaps.max),
            "cut off": "-" if math.isnan(streams.cut_off) else f"{streams.cut_off:.1%}",
        }  # fmt: skip
    return (f"<div><b>{value}</b><span>{name}</span></div>" for name, value in shown.items())


def _legend(counted: Counter[str], called: str) -> Iterable[str]:
    return (
        f'<span><i class="{_class(kind)}"></i>{_name(kind, called)} {counted[kind]}</span>'
        for kind in KINDS if counted[kind]
    )  # fmt: skip


def _latency(shots: Sequence[Shot], figures: Figures, seconds: float) -> str:
    called = "answers" if figures.streams else "summaries"
    values = [shot.latency for shot in shots]
    across = time_axis(seconds, WIDTH - LEFT - RIGHT)
    up = axis(values, LATENCY_HEIGHT, log=uneven(values))
    dots = (
        f'<circle class="{_class(shot.kind)}" cx="{LEFT + across.place(shot.start):.1f}" '
        f'cy="{LATENCY_HEIGHT - up.place(shot.latency):.1f}" r="3">'
        f"<title>{_told(shot, called)}</title></circle>"
        for shot in sorted(shots, key=lambda shot: -KINDS.index(shot.kind))  # summaries on top
    )
    marks = _apart([
        (f"{name} {span(value)}", LATENCY_HEIGHT - up.place(value))
        for name in ("p50", "p95", "p99")
        if not math.isnan(value := getattr(figures.latency, name))
    ])  # fmt: skip
    return _svg(LATENCY_HEIGHT, [*_grid(across, up, LATENCY_HEIGHT, span), *dots, *marks])


def _throughput(run: Run) -> str:
    """Stacked bars of what was answered when, and a line over all of it."""
    columns, width = per_column(run)
    called = "answers" if run.profile.talk else "summaries"
    across = time_axis(run.seconds, WIDTH - LEFT - RIGHT)
    up = axis([column.total() / width for column in columns], RATE_HEIGHT)
    shapes, line = [], []
    for place, column in enumerate(columns):
        left, wide = LEFT + across.place(place * width), across.place(width)
        bottom = float(RATE_HEIGHT)
        for kind in KINDS:
            rate = column[kind] / width
            if rate:
                bottom -= up.place(rate)
                shapes.append(
                    f'<rect class="{_class(kind)}" x="{left + 0.5:.1f}" y="{bottom:.1f}" '
                    f'width="{wide - 1:.1f}" height="{up.place(rate):.1f}">'
                    f"<title>{_name(kind, called)}: {rate:.3g}/s</title></rect>"
                )
        line.append(f"{left + wide / 2:.1f},{bottom:.1f}")
    shapes.append(f'<polyline class="rate" points="{" ".join(line)}" />')
    return _svg(RATE_HEIGHT, [*_grid(across, up, RATE_HEIGHT, lambda rate: f"{rate:g}"), *shapes])


def per_column(run: Run) -> tuple[list[Counter[str]], float]:
    """What was answered in each of some equal parts of the run, and their length in seconds."""
    count = min(COLUMNS, max(1, round(run.seconds)))
    width = run.seconds / count
    columns = [Counter[str]() for _ in range(count)]
    for shot in run.shots:
        columns[min(count - 1, int((shot.start + shot.latency) / width))][shot.kind] += 1
    return columns, width


def _grid(across: Axis, up: Axis, height: int, name: Callable[[float], str]) -> Iterable[str]:
    for tick in up.ticks:
        y = height - up.place(tick)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" />'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{name(tick)}</text>'
    for tick in across.ticks:
        x = LEFT + across.place(tick)
        yield f'<text x="{x:.1f}" y="{height + 20}" text-anchor="middle">{tick:g} s</text>'


def _apart(marks: Sequence[tuple[str, float]]) -> Iterable[str]:
    """Dashed lines with their names at the right, none of which covers another."""
    free = math.inf
    for name, y in sorted(marks, key=lambda mark: -mark[1]):
        label = min(y + 4, free)
        free = label - 14
        yield f'<line class="mark" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" />'
        yield f'<text class="mark-name" x="{WIDTH - RIGHT + 6}" y="{label:.1f}">{name}</text>'


def _svg(height: int, content: Iterable[str]) -> str:
    inner = "\n".join(content)
    return (
        '<div class="plot"><svg xmlns="http://www.w3.org/2000/svg" '
        f'viewBox="0 -14 {WIDTH} {height + 42}" role="img">\n{inner}\n</svg></div>'
    )


def _class(kind: str) -> str:
    return kind.replace(" ", "-")


def _name(kind: str, called: str) -> str:
    """A kind for people, where summaries are called otherwise."""
    return "answer" if (kind, called) == ("summary", "answers") else kind


def _told(shot: Shot, called: str) -> str:
    kind = _name(shot.kind, called)
    return f"at {shot.start:.2f} s: {kind} ({shot.status}) after {span(shot.latency)}"
