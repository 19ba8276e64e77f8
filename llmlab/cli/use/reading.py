"""How far the texts are that are being summarized: bars on stderr, for a person who watches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmlab.cli.output import duration, err, escaped

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from llmlab.client import Progress

WORTH_A_WORD = 10.0  # seconds; who has to wait for longer is told


@contextmanager
def bars(total: int) -> Iterator[Reading]:
    """A bar for several texts, and one for each that is read in several windows. They are gone
    in the end. Without a terminal, one line if the lab's rate makes it long."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = err()
    if not console.is_terminal:
        yield Reading(None, total)
        return
    # Answers go where stdout leads, and never through the console of the bars.
    shown = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"), TimeElapsedColumn(),
        TextColumn("{task.fields[limit]}"), console=console, transient=True,
        redirect_stdout=False, redirect_stderr=False,
    )  # fmt: skip
    with shown:
        yield Reading(shown, total)


class Reading:
    """Draws what is told of the texts.

    Args:
        shown: None where nobody watches.
    """

    def __init__(self, shown: Bars | None, total: int) -> None:
        self._shown = shown
        self._texts: dict[str, TaskID] = {}
        self._all: TaskID | None = None
        self._left = total
        self._interval = 0.0
        if shown and total > 1:
            self._all = shown.add_task("summarizing", total=total, unit="texts", limit="")

    def read(self, name: str, progress: Progress) -> None:
        """A text is so far."""
        if self._shown is None:
            return
        what = escaped("stdin" if name == "-" else name)
        if name not in self._texts:
            self._texts[name] = self._shown.add_task(what, unit="windows", limit="")
        putting_together = progress.reading > 1 or progress.done == progress.windows
        self._shown.update(
            self._texts[name], completed=progress.done, total=progress.windows,
            description=f"{what}: putting together" if putting_together else f"reading {what}",
        )  # fmt: skip

    def done(self, name: str) -> None:
        """A text has its summary, or will have none."""
        self._left -= 1
        if self._shown is None:
            return
        if name in self._texts:
            self._shown.remove_task(self._texts.pop(name))
        if self._all is not None:
            self._shown.update(self._all, advance=1, limit=self._limit())

    def limited(self, interval: float) -> None:
        """The lab takes one request in so many seconds."""
        self._interval = interval
        if self._shown is None:
            if self._left * interval > WORTH_A_WORD:
                err().print(
                    f"The lab is limited to {rate(interval)} (gateway.rate_limit): "
                    f"{self._left} texts take about {self._time()}.",
                    highlight=False, soft_wrap=True,
                )  # fmt: skip
        elif self._all is not None:
            self._shown.update(self._all, limit=self._limit())

    def _limit(self) -> str:
        if not self._interval:
            return ""
        return f"limited to {rate(self._interval)}, {self._time()} left"

    def _time(self) -> str:
        seconds = self._left * self._interval
        return duration(seconds if seconds < 60 else seconds + 30)  # to the nearest minute

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Out of the way, while something else is printed."""
        if self._shown is None:
            yield
            return
        self._shown.stop()
        try:
            yield
        finally:
            self._shown.start()


def rate(interval: float) -> str:
    """``2 a second``, ``30 a minute``."""
    return f"{1 / interval:.3g} a second" if interval <= 1 else f"{60 / interval:.3g} a minute"
