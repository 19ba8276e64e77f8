from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.options import WhyOption, switch
from llmlab.cli.output import Format, OutputOption, err, escaped, out, print_json
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.recording.manifest import Recorded
    from llmlab.recording.store import Recordings

app = typer.Typer(
    add_completion=False,
    help="Record what a route is asked and answers, to judge the next version by it.",
    no_args_is_help=True,
)
Name = Annotated[
    str, typer.Argument(
        metavar="RECORDING", autocompletion=completing.recordings, help="See llmlab record list."
    )
]  # fmt: skip
TAKES_EFFECT = 1  # seconds, at most


@app.command()
def start(
    context: typer.Context,
    route: Annotated[
        str,
        typer.Option(
            metavar="ROUTE", autocompletion=completing.routes, help="The public name to record."
        ),
    ] = "summarize",
    share: Annotated[
        float, typer.Option(metavar="PERCENT", min=0.01, max=100, help="Of its requests.")
    ] = 100,
    redact: Annotated[
        bool,
        switch(
            "--redact/--no-redact", "Secrets and addresses in texts are named, not kept; or not."
        ),
    ] = True,
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Keep what a route is asked and answers, sealed, in the lab's state, until it is stopped.

    Clients are told in the header X-Recorded. One that sends Cache-Control: no-store, or
    "store": false in OpenAI's dialect, is left out. A recording ends by itself when it is full or
    has lasted long enough: see the section recording of lab.toml.
    """
    from llmlab.engines.record import Record
    from llmlab.recording.store import Wish

    session = Session.of(context)
    config = session.load().config
    record = Record.read(session.lab())
    # Those that are up: one that lab.toml has meanwhile would stay empty.
    routes = record.plan().routes if record else config.served
    found = _recordings(session).start(
        Wish(route, share, redact, why), config.recording, tuple(routes),
        record.engine if record else "",
    )  # fmt: skip
    if output is Format.JSON:
        print_json(asdict(found))
        return
    kept = "redacted" if found.redacted else "[bold]not redacted[/]"
    err().print(
        f"[bold green]✓[/] {found.share:g} % of what {route} is asked is kept, {kept}, within "
        f"{TAKES_EFFECT} s, until llmlab record stop {found.id}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


@app.command()
def stop(
    context: typer.Context, recording: Name, why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:  # fmt: skip
    """End a recording. What it holds stays until it is removed, or too old."""
    found, went_on = _recordings(Session.of(context)).stop(recording, why)
    if output is Format.JSON:
        print_json({**asdict(found), "changed": went_on})
        return
    said = "has ended" if went_on else "had ended before"
    err().print(f"[bold green]✓[/] {recording} {said}.", highlight=False)


@app.command("list")
def list_(context: typer.Context, output: OutputOption = Format.TEXT) -> None:
    """Show all recordings, the oldest first."""
    found = _recordings(Session.of(context)).all()
    if output is Format.JSON:
        print_json([asdict(one) for one in found])
        return
    from llmlab.cli.moments import here
    from llmlab.cli.table import print_table

    rows = [
        (one.id, one.state, f"{one.share:g} %", "redacted" if one.redacted else "as they are",
         str(one.requests), str(one.dropped), f"{one.bytes}", here(one.started), escaped(one.by),
         escaped(one.why))
        for one in found
    ]  # fmt: skip
    if rows:
        titles = ("recording", "state", "share", "texts", "requests", "dropped", "bytes",
                  "started", "by", "why")  # fmt: skip
        print_table(titles, rows)
    else:
        err().print("Nothing was recorded; [bold]llmlab record start[/] does.", highlight=False)


@app.command()
def show(context: typer.Context, recording: Name, output: OutputOption = Format.TEXT) -> None:
    """Show what a recording is, and with -o json also the requests in it."""
    recordings = _recordings(Session.of(context))
    found = recordings.get(recording)
    if output is Format.JSON:
        sealed = list(recordings.records(recording))
        there = [one for one in sealed if one is not None]
        malformed = len(sealed) - len(there)
        print_json({**asdict(found), "records": there, "malformed": malformed})
        return
    from rich.table import Table

    table = Table(box=None, show_header=False)
    for name, value in asdict(found).items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {_plain(one)}" for key, one in value.items())
        table.add_row(f"[bold]{name.replace('_', ' ')}[/]", escaped(str(value)))
    out().print(table, highlight=False)


@app.command()
def remove(
    context: typer.Context, recording: Name, why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:  # fmt: skip
    """Remove a recording and all that it holds; one that goes on ends."""
    found = _recordings(Session.of(context)).remove(recording, why)
    if output is Format.JSON:
        print_json(asdict(found))
        return
    err().print(f"[bold green]✓[/] {recording} is gone; it had {_size(found)}.", highlight=False)


def _recordings(session: Session) -> Recordings:
    from llmlab.recording.store import Recordings

    return Recordings(session.lab())


def _size(found: Recorded) -> str:
    dropped = f", {found.dropped} dropped" if found.dropped else ""
    return f"{found.requests} requests in {found.bytes} bytes{dropped}"


def _plain(value: object) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
