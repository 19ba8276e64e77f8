"""What `llmlab top` draws of a lab at one moment."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llmlab.cli.output import escaped
from llmlab.cli.run.figures import bars, counts, mib, peak, percent, rate, seconds, short
from llmlab.observe.shares import is_off

if TYPE_CHECKING:
    from rich.panel import Panel
    from rich.table import Table

    from llmlab.observe.observer import DeploymentView, View
    from llmlab.observe.told import Told

ROOM = 3  # columns on the right: the ^C of a terminal must not begin a new line
WIDE = 110  # columns, from which on a deployment and its sparkline are one line
WIDEST = 140
# What stands right of a deployment's name, and how wide it is at most.
COLUMNS = {"share": 6, "weight": 6, "req/s": 6, "p50": 6, "p95": 6, "errors": 6, "queue": 5,
           "tok/s": 5, "MiB": 4}  # fmt: skip


def frame(view: View, width: int) -> Panel:
    """Args:
    width: of the terminal, in columns.
    """
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    wide = width >= WIDE
    inside = max(40, min(WIDEST, width - ROOM) - 4)
    title = Text.assemble((view.lab, "bold"), ("  engine ", "dim"), view.engine, "  ", view.url)
    title.truncate(inside, overflow="ellipsis")
    return Panel(
        Group(_totals(view, inside), "", _deployments(view, inside, wide=wide)),
        title=title, title_align="left", border_style="cyan" if view.healthy else "red",
        padding=(0, 1), width=inside + 4,
    )  # fmt: skip


def _totals(view: View, width: int) -> Table:
    from rich.table import Table

    total = view.glance.total
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    line = bars(total.recent, peak([total.recent]))
    table.add_row(
        "requests/s", f"[bold]{rate(total.per_second):<6}[/]  [cyan]{line[-(width - 20) :]}[/]"
    )
    table.add_row(
        "latency",
        f"p50 [bold]{seconds(total.p50)}[/]  p95 [bold]{seconds(total.p95)}[/]  "
        f"p99 [bold]{seconds(total.p99)}[/]  {_errors(total.errors)} errors  "
        f"[dim]last {view.glance.seconds:.0f} s[/]",
    )
    refused = view.glance.refused
    table.add_row("refused", f"[yellow]{counts(refused)}[/]" if refused else "[dim]none[/]")
    if waf := view.waf:
        table.add_row(
            "waf",
            f"{waf.inspected} looked at  {_some(waf.found)} found  {_some(waf.refused)} refused  "
            f"{_some(waf.failed)} not answered",
        )
    wanted = view.wanted
    for route, number in wanted.rollouts.items():
        step = f", step [bold]{wanted.steps[route]}[/]" if wanted.steps[route] else ""
        table.add_row("routes", f"{escaped(route)} of rollout [bold]{number}[/]{step}")
    for one in view.deployments:
        if one.seen.answers:
            table.add_row("answers", _told(one.name, one.seen.answers))
    if wanted.flags:
        flags = (f"{escaped(name)} {percent(on)}" for name, on in wanted.flags.items())
        table.add_row("flags", "  ".join(flags))
    return table


def _told(name: str, told: Told) -> str:
    return (
        f"{escaped(name)}  first [bold]{seconds(told.first_p50)}[/] p95 {seconds(told.first_p95)}  "
        f"gap p95 {seconds(told.gap_p95)}  {rate(told.tokens_per_second)} tokens/s  "
        f"cut {percent(told.cut_off)}  refused {percent(told.refused)}  "
        f"invalid {percent(told.invalid)}"
    )


def _deployments(view: View, width: int, *, wide: bool) -> Table:
    from rich.table import Table

    gap = 2 if wide else 1
    rest = sum(COLUMNS.values()) + gap * len(COLUMNS)
    longest = max((len(one.name) + 2 for one in view.deployments), default=0)
    name = max(8, min(max(14, longest), 30 if wide else width - rest))
    drawn = width - rest - name - gap if wide else name - 2
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim")
    table.add_column("  deployment", no_wrap=True, overflow="ellipsis", width=name)
    for title, columns in COLUMNS.items():
        table.add_column(title, justify="right", no_wrap=True, width=columns)
    if wide:
        table.add_column("", no_wrap=True)
    most = peak(one.seen.recent for one in view.deployments)
    for one in view.deployments:
        line = f"[cyan]{bars(one.seen.recent, most)[-drawn:]}[/]"
        table.add_row(*_cells(one, view), *([line] if wide else []))
        if not wide and any(one.seen.recent[-drawn:]):
            table.add_row(f"  {line}")
    return table


def _cells(one: DeploymentView, view: View) -> list[str]:
    mark = "[green]●[/]" if one.healthy else "[red]●[/]"
    seen, rates = one.seen, one.rates
    waiting = one.api.waiting if one.api else math.nan
    return [
        f"{mark} [bold]{escaped(one.name)}[/]",
        _share(one, view.glance.shared),
        percent(one.weight),
        rate(seen.per_second),
        seconds(seen.p50),
        seconds(seen.p95),
        _errors(seen.errors),
        short(waiting),
        short(rates.tokens_in + rates.tokens_out) if rates else "-",
        mib(one.memory),
    ]


def _some(count: int) -> str:
    return f"[yellow]{count}[/]" if count else f"{count}"


def _share(one: DeploymentView, of: int) -> str:
    share = one.seen.share
    if math.isnan(share) and of:
        share = 0.0
    text = percent(share)
    return f"[yellow]{text}[/]" if is_off(share, one.weight, of) else text


def _errors(share: float) -> str:
    if math.isnan(share):
        return "-"
    return f"[{'red' if share else 'green'}]{percent(share)}[/]"
