from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli.output import err, out, print_json
from llmlab.cli.session import EngineOption, Session

if TYPE_CHECKING:
    from llmlab.engines.base import Engine


class MetricsFormat(StrEnum):
    TEXT = "text"
    JSON = "json"
    PROMETHEUS = "prometheus"


def metrics(
    context: typer.Context,
    listen: Annotated[
        str,
        typer.Option(
            metavar="[ADDRESS:]PORT",
            help="Answer Prometheus at http://ADDRESS:PORT/metrics, 127.0.0.1 without an address.",
        ),
    ] = "",
    engine: EngineOption = None,
    output: Annotated[
        MetricsFormat,
        typer.Option(
            "--output", "-o", help="text for people, json for programs, prometheus for Prometheus."
        ),
    ] = MetricsFormat.TEXT,
) -> None:
    """Show the metrics of the lab's APIs and of its gateway."""
    chosen = Session.of(context).engine(engine)
    if listen:
        _listen(chosen, listen)
    elif output is MetricsFormat.PROMETHEUS:
        from llmlab.observe.exposition import lab_exposition

        sys.stdout.write(lab_exposition(chosen))
    else:
        from llmlab.observe.observer import Observer

        view = Observer(chosen).look()
        if output is MetricsFormat.JSON:
            print_json(view.as_json())
            return
        from llmlab.cli.run.metrics_view import tables

        for table in tables(view):
            out().print(table)


def _listen(engine: Engine, listen: str) -> None:
    from llmlab.observe.exporter import Exporter, address
    from llmlab.observe.exposition import lab_exposition

    host, port = address(listen)
    exporter = Exporter(lambda: lab_exposition(engine), (host, port))
    shown = f"[{host}]" if ":" in host else host
    err().print(
        f"Metrics at http://{shown}:{port}/metrics; Ctrl-C ends.", highlight=False, markup=False
    )
    exporter.serve()
