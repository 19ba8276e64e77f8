"""An answer on its way to a person: as Markdown on a terminal, as it is into a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.markdown import Markdown
from rich.segment import Segment

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
    with Live(console=console, transient=True, refresh_per_second=12) as live:

        def show(piece: str) -> None:
            pieces.append(piece)
            live.update(_End("".join(pieces)))

        try:
            yield show
        finally:
            live.update("")
    if pieces:
        console.print(Markdown("".join(pieces)))


@dataclass(frozen=True)
class _End:
    """As much of a text's end as the terminal has lines for."""

    text: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(Markdown(self.text), options.update(height=None))
        for line in lines[-max(1, console.height - MARGIN) :]:
            yield from line
            yield Segment.line()
