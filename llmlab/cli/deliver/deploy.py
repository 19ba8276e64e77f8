from __future__ import annotations

from typing import Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.options import WhyOption
from llmlab.cli.output import (
    DryRunOption,
    Format,
    OutputOption,
    err,
    print_commands,
    print_json,
    progress,
    show_warning,
)
from llmlab.cli.session import Session


def deploy(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            autocompletion=completing.models,
            help="Of lab.toml, or registered: NAME, NAME:VERSION, an alias, ...",
        ),
    ],
    name: Annotated[
        str, typer.Option("--name", "-n", metavar="NAME", help="Of the deployment.")
    ] = "",
    replicas: Annotated[
        int, typer.Option("--replicas", metavar="K", help="Processes that share its requests.")
    ] = 1,
    why: WhyOption = "",
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Start a model beside the running ones. Requests reach it under /models/NAME/ only, until
    a rollout or a flag routes more to it."""
    from llmlab.delivery.applying import change, planned, running
    from llmlab.delivery.deploying import deployed, pinned
    from llmlab.ledger.store import Store
    from llmlab.traffic import Deployed, Traffic

    session = Session.of(context)
    lab = session.lab()
    engine, plan = running(lab)
    usual, reference = pinned(session.catalogue(), model)
    wanted = Deployed(name or usual, reference, replicas)

    def add(traffic: Traffic) -> Traffic:
        return deployed(plan, traffic, wanted)

    with progress("looking") as say:
        # Before it is written down: its model may have to be fetched, and may not be there.
        ready = planned(lab, engine, plan, add(Store(lab).traffic()), say)
        if dry_run:
            print_commands(engine.commands(ready))
            return
        what = {"did": "deploy", "deployment": wanted.name, "model": reference}
        changed = change(lab, "deployment", what, add, why, say)
    for warning in ready.warnings:
        if warning not in plan.warnings:
            show_warning(warning)
    status = engine.status()
    if output is Format.JSON:
        found = next(one for one in status.as_json()["deployments"] if one["name"] == wanted.name)
        print_json({**found, "changed": changed, "url": _url(status.gateway.url, wanted.name)})
        return
    did = "is deployed" if changed else "was deployed already; nothing changed"
    err().print(f"[bold green]✓[/] {wanted.name} ({reference}) {did}", highlight=False)
    print(_url(status.gateway.url, wanted.name))


def _url(gateway: str, name: str) -> str:
    return f"{gateway}/models/{name}/summarize/"
