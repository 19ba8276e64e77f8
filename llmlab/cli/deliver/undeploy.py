from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.options import WhyOption
from llmlab.cli.output import Format, OutputOption, err, print_json, progress
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.cli.documents import Undeployed


def undeploy(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", autocompletion=completing.deployments, help="Of the deployment."
        ),
    ],
    force: Annotated[
        bool, typer.Option("--force", metavar="", help="Even if routes lead to it; they go too.")
    ] = False,
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Stop a deployment that was started by `deploy`, once its last request has its answer."""
    from llmlab.delivery.applying import change, running
    from llmlab.delivery.deploying import undeployed
    from llmlab.traffic import Traffic

    lab = Session.of(context).lab()
    _, plan = running(lab)

    def remove(traffic: Traffic) -> Traffic:
        return undeployed(lab, plan, traffic, name, force=force)

    what = {"did": "undeploy", "deployment": name}
    with progress("stopping") as say:
        change(lab, "deployment", what, remove, why, say)
    if output is Format.JSON:
        document: Undeployed = {"name": name, "changed": True}
        print_json(document)
        return
    err().print(f"[bold green]✓[/] {name} is gone.", highlight=False)
