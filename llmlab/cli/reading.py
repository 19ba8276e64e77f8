"""How far the texts are that are being summarized: bars on stderr, for a person who watches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmlab.cli.output import err, escaped

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from llmlab.client import Progress
    from llmlab.client.batch import Listener


@contextmanager
def bars(total: int) -> Iterator[Listener | None]:
    """A bar for several texts, and one for each that is read in several windows. They are gone
    in the end. None without a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = err()
    if not console.is_terminal:
        yield None
        return
    shown = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"), TimeElapsedColumn(), console=console, transient=True,
    )  # fmt: skip
    with shown:
        yield Reading(shown, total)


class Reading:
    """Draws what is told of the texts."""

    def __init__(self, shown: Bars, total: int) -> None:
        self._shown = shown
        self._texts: dict[str, TaskID] = {}
        self._all: TaskID | None = None
        if total > 1:
            self._all = shown.add_task("summarizing", total=total, unit="texts")

    def read(self, name: str, progress: Progress) -> None:
        """A text is so far."""
        what = escaped("stdin" if name == "-" else name)
        if name not in self._texts:
            self._texts[name] = self._shown.add_task(what, unit="windows")
        putting_together = progress.reading > 1 or progress.done == progress.windows
        self._shown.update(
            self._texts[name], completed=progress.done, total=progress.windows,
            description=f"{what}: putting together" if putting_together else f"reading {what}",
        )  # fmt: skip

    def done(self, name: str) -> None:
        """A text has its summary, or will have none."""
        if name in self._texts:
            self._shown.remove_task(self._texts.pop(name))
        if self._all is not None:
            self._shown.advance(self._all)
