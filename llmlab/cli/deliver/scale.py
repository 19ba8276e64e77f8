from __future__ import annotations

from typing import Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.options import WhyOption
from llmlab.cli.output import Format, OutputOption, err, print_json, progress
from llmlab.cli.session import Session


def scale(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", autocompletion=completing.deployments, help="Of the deployment."
        ),
    ],
    replicas: Annotated[int, typer.Argument(metavar="K", help="Processes to run.")],
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Have so many processes share the requests of a deployment."""
    from llmlab.delivery.applying import change, running
    from llmlab.delivery.deploying import scaled
    from llmlab.traffic import Traffic

    lab = Session.of(context).lab()
    engine, plan = running(lab)

    def to(traffic: Traffic) -> Traffic:
        return scaled(plan, traffic, name, replicas)

    what = {"did": "scale", "deployment": name, "replicas": replicas}
    with progress("scaling") as say:
        changed = change(lab, "deployment", what, to, why, say)
    if output is Format.JSON:
        found = engine.status().as_json()["deployments"]
        print_json({**next(one for one in found if one["name"] == name), "changed": changed})
        return
    did = f"{replicas} of {name}" if changed else f"{replicas} of {name} already; nothing changed"
    err().print(f"[bold green]✓[/] {did}", highlight=False)
