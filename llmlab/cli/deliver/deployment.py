from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.options import WhyOption, switch
from llmlab.cli.output import Format, OutputOption, err, print_json, progress
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.cli.documents import Undeployed

app = typer.Typer(
    add_completion=False,
    help="What becomes of a running deployment: more processes, or none.",
    no_args_is_help=True,
)
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", autocompletion=completing.deployments, help="Of the deployment."
    ),
]


@app.command()
def scale(
    context: typer.Context,
    name: Name,
    replicas: Annotated[int, typer.Argument(metavar="K", help="Processes to run; 0: it rests.")],
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Have so many processes share the requests of a deployment."""
    from llmlab.delivery.applying import change, running
    from llmlab.delivery.deploying import scaled
    from llmlab.rollout.store import Rollouts
    from llmlab.traffic import Traffic

    lab = Session.of(context).lab()
    engine, plan = running(lab)

    def to(traffic: Traffic) -> Traffic:
        return scaled(plan, traffic, name, replicas, tried=Rollouts(lab).needed())

    what = {"did": "scale", "deployment": name, "replicas": replicas}
    with progress("scaling") as say:
        changed = change(lab, "deployment", what, to, why, say)
    if output is Format.JSON:
        found = engine.status().as_json()["deployments"]
        print_json({**next(one for one in found if one["name"] == name), "changed": changed})
        return
    did = f"{replicas} of {name}" if changed else f"{replicas} of {name} already; nothing changed"
    err().print(f"[bold green]✓[/] {did}", highlight=False)


@app.command()
def stop(
    context: typer.Context,
    name: Name,
    force: Annotated[bool, switch("--force", "Even if routes lead to it; they go too.")] = False,
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
