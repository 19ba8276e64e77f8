"""What a person sees while the lab is under load."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmlab.cli.output import err
from llmlab.probe.figures import Latency, span, status_name
from llmlab.probe.load import MOST_REQUESTS

if TYPE_CHECKING:
    from rich.panel import Panel
    from rich.table import Table

    from llmlab.probe.load import Listener, Run
    from llmlab.probe.shots import Shot

BARS = "▁▂▃▄▅▆▇█"
RECENT = 10  # seconds that p50 and p95 look back
SHOWN = 40  # seconds of the sparkline
WIDEST = 100  # columns
ROOM = 3  # columns on the right: the ^C of a terminal must not begin a new line


@contextmanager
def live(address: str) -> Iterator[Listener]:
    """A listener that draws; on a terminal only."""
    console = err()
    if not console.is_terminal:
        yield lambda run: None
        return
    from rich.live import Live

    with Live(console=console, auto_refresh=False, transient=True) as screen:
        view = View(address)

        def draw(run: Run) -> None:
            screen.update(view(run, console.width), refresh=True)

        yield draw


class View:
    """The run so far. Looks at each request once, so that watching costs the same all along."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._run: Run | None = None

    def __call__(self, run: Run, width: int) -> Panel:
        """Args:
        width: of the terminal, in columns.
        """
        from rich.panel import Panel
        from rich.text import Text

        if run is not self._run:
            self._forget(run)
        now = time.perf_counter() - run.begin
        self._look(now)
        profile = run.profile
        how = f"{profile.rate:.3g} requests/s" if profile.rate else f"{profile.concurrency} clients"
        return Panel(
            self._table(run, now), title=Text(f"{self._address}  {how}"), title_align="left",
            border_style="cyan", padding=(0, 1), width=max(20, min(WIDEST, width - ROOM)),
        )  # fmt: skip

    def _forget(self, run: Run) -> None:
        self._run = run
        self._seen = 0
        self._statuses: Counter[int] = Counter()
        self._answered: Counter[int] = Counter()  # by the second in which it was
        self._recent: deque[Shot] = deque()

    def _look(self, now: float) -> None:
        assert self._run
        for shot in self._run.shots[self._seen :]:
            self._statuses[shot.status] += 1
            self._answered[int(shot.start + shot.latency)] += 1
            self._recent.append(shot)
        self._seen = len(self._run.shots)
        while self._recent and self._recent[0].start + self._recent[0].latency < now - RECENT:
            self._recent.popleft()

    def _table(self, run: Run, now: float) -> Table:
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim")
        table.add_column()
        latency = Latency.of([shot.latency for shot in self._recent if shot.ok])
        looked = max(1.0, min(RECENT, now))
        table.add_row("time", _time(run, now))
        table.add_row("requests/s", f"{len(self._recent) / looked:6.1f}  {self._bars(now)}")
        table.add_row(
            "latency",
            f"p50 [bold]{span(latency.p50)}[/]  p95 [bold]{span(latency.p95)}[/]"
            f"  [dim](last {RECENT} s)[/]",
        )
        table.add_row("answers", self._told() or "[dim]none yet[/]")
        table.add_row("in flight", f"{run.under_way}")
        return table

    def _bars(self, now: float) -> str:
        last = int(now)  # the second that is not over yet stays out
        counts = [self._answered[second] for second in range(max(0, last - SHOWN), last)]
        most = max(counts, default=0) or 1
        bars = "".join(BARS[-(-count * (len(BARS) - 1) // most)] for count in counts)
        return f"[cyan]{bars}[/]"

    def _told(self) -> str:
        return "  ".join(
            f"[{'green' if status == 200 else 'yellow' if status in (429, 503) else 'red'}]"
            f"{status_name(status)}[/] × {count}"
            for status, count in sorted(self._statuses.items())
        )


def _time(run: Run, now: float) -> Table:
    """A bar: of the time, or of the requests where so many were asked for."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    row = Table.grid(padding=(0, 1))
    if now < 0:
        row.add_row(
            ProgressBar(total=1, completed=0, width=30), f"[dim]warming up, {-now:.1f} s[/]"
        )
        return row
    profile = run.profile
    by_time = min(1.0, now / profile.seconds)
    by_count = len(run.shots) / profile.requests
    if profile.requests < MOST_REQUESTS and by_count > by_time:
        left = f"{profile.requests - len(run.shots)} of {profile.requests} requests left"
    elif now > profile.seconds:
        left = "waiting for the last answers"
    else:
        left = f"{profile.seconds - now:.0f} s left"
    row.add_row(ProgressBar(total=1, completed=max(by_time, by_count), width=30), left)
    return row
