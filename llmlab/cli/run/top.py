from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli.options import switch
from llmlab.cli.output import Format, OutputOption, out, print_json
from llmlab.cli.session import EngineOption, Session

if TYPE_CHECKING:
    from llmlab.observe.observer import Observer

PIPED = 120  # columns of a frame that goes into a pipe or a file


def top(
    context: typer.Context,
    interval: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.2, max=60.0, help="Time between two looks.")
    ] = 1.0,
    window: Annotated[
        float, typer.Option(metavar="SECONDS", min=1.0, max=300.0, help="Figures look back so far.")
    ] = 60.0,
    once: Annotated[bool, switch("--once", "Look twice, show the second, and end.")] = False,
    engine: EngineOption = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Watch what the lab does: requests, latencies, errors and shares of each deployment. `q`
    ends it."""
    from llmlab.errors import UsageError
    from llmlab.observe.observer import Observer

    if output is Format.JSON and not once:
        raise UsageError("-o json shows one moment, not a view", fix="llmlab top --once -o json")
    observer = Observer(Session.of(context).engine(engine), window=window)
    if not once:
        _watch(observer, interval)
        return
    start = time.monotonic()
    observer.look()
    time.sleep(max(0.0, interval - (time.monotonic() - start)))  # the first look takes longer
    view = observer.look()
    if output is Format.JSON:
        print_json(view.as_json())
        return
    from llmlab.cli.run.top_view import frame

    console = out()
    console.print(frame(view, console.width if console.is_terminal else PIPED))


def _watch(observer: Observer, interval: float) -> None:
    from rich.live import Live

    from llmlab.cli.run.top_view import frame
    from llmlab.cli.watching import keys

    console = out()
    if not console.is_terminal:  # one after the other, for a pipe or a file
        while True:
            console.print(frame(observer.look(), PIPED))
            console.file.flush()
            time.sleep(interval)
    first = frame(observer.look(), console.width)
    with keys() as quits, Live(first, console=console, auto_refresh=False) as live:
        while not quits(interval):
            live.update(frame(observer.look(), console.width), refresh=True)
