"""An answer on its way to a person: as Markdown on a terminal, as it is into a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import dropwhile

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.markdown import Markdown
from rich.segment import Segment

from llmlab.cli.output import printable

Show = Callable[[str], None]
MARGIN = 2  # lines of a terminal that an answer leaves free while it grows


@contextmanager
def as_it_is() -> Iterator[Show]:
    def show(piece: str) -> None:
        sys.stdout.write(piece)
        sys.stdout.flush()

    yield show
    show("\n")


@contextmanager
def nowhere() -> Iterator[Show]:
    yield lambda piece: None


@contextmanager
def as_markdown(console: Console) -> Iterator[Show]:
    """Its end while it grows, all of it once it is there, be it interrupted."""
    pieces: list[str] = []
    live = Live(console=console, transient=True, refresh_per_second=12)

    def show(piece: str) -> None:
        pieces.append(piece)
        live.update(_Page("".join(pieces), most=max(1, console.height - MARGIN)))

    try:
        with live:
            try:
                yield show
            finally:
                live.update("")
    finally:
        if said := "".join(pieces).strip():
            console.print(_Page(said))


@dataclass(frozen=True)
class _Page:
    """A text as Markdown, without the space around it, and nothing in it steers the terminal.

    Args:
        most: so many lines of its end; None for all.
    """

    text: str
    most: int | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        whole = console.render_lines(
            Markdown(printable(self.text)), options.update(height=None), pad=False
        )
        lines = list(dropwhile(_blank, whole))  # a list begins with an empty one
        for line in lines[-self.most :] if self.most else lines:
            yield from line
            yield Segment.line()


def _blank(line: list[Segment]) -> bool:
    return not any(segment.text.strip() for segment in line)
