from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli.options import switch
from llmlab.cli.output import Format, OutputOption, err, print_json, progress
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.cli.documents import DrainedNode
    from llmlab.engines.status import NodeStatus
    from llmlab.lab import Lab

app = typer.Typer(
    add_completion=False,
    help="Machines on which the engine ray runs API processes: join one, list and drain them.",
    no_args_is_help=True,
)
GIB = 1 << 30


@app.command()
def add(
    head: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where the lab's head listens.")],
    token_file: Annotated[
        Path,
        typer.Option(metavar="FILE", help="A copy of the lab's .llmlab/ray/token, mode 0600."),
    ],
    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="This machine's own; default: the one to the head."),
    ] = "",
    cores: Annotated[int, typer.Option(metavar="N", min=-1, help="For replicas; -1 = all.")] = -1,
    gpus: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="For replicas; default: all.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="For models; default: ~/.local/state/llmlab-node."),
    ] = None,
) -> None:
    """Make this machine a node of a lab elsewhere, until Ctrl-C.

    Its replicas move to other machines when it ends. Nothing of the lab has to be here but the
    token, and the same version of llmlab.
    """
    import signal
    import threading

    from llmlab.engines.ray.cluster import checked_token
    from llmlab.engines.ray.joining import Joining, checked_address, join

    checked_address(head)
    joining = Joining(
        head, host, checked_token(token_file), cores, gpus,
        (folder or Path.home() / ".local" / "state" / "llmlab-node").absolute(),
    )  # fmt: skip
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    join(joining, over, lambda said: err().print(said, highlight=False))


@app.command("list")
def list_nodes(context: typer.Context, output: OutputOption = Format.TEXT) -> None:
    """Show the machines of a lab that runs, and what is on them."""
    from dataclasses import asdict

    from llmlab.cli.table import print_table

    nodes = _nodes(Session.of(context).lab())
    if output is Format.JSON:
        print_json([asdict(one) for one in nodes])
        return
    rows = [
        [one.name, one.host, "head, " * one.is_head + one.state, f"{one.cores:g}", f"{one.gpus:g}",
         f"{one.memory / GIB:.1f}", ", ".join(one.replicas)]
        for one in nodes
    ]  # fmt: skip
    print_table(["Node", "Address", "State", "Cores", "GPUs", "GiB", "Replicas"], rows)


@app.command()
def drain(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NODE", help="Its name or its address.")],
    undo: Annotated[bool, switch("--undo", "Let it have replicas again.")] = False,
    timeout: Annotated[
        int, typer.Option(metavar="SECONDS", min=1, help="Until others serve in their place.")
    ] = 300,
    output: OutputOption = Format.TEXT,
) -> None:
    """Move all replicas away from a machine, each once another one serves in its place."""
    from llmlab.engines.ray.draining import emptied, find

    lab = Session.of(context).lab()
    node = find(_nodes(lab), name)
    with progress("moving its replicas") as say:
        emptied(lab, node, undo=undo, seconds=timeout, say=say)
    if output is Format.JSON:
        document: DrainedNode = {"name": node.name, "host": node.host, "draining": not undo}
        print_json(document)
        return
    did = "has replicas again" if undo else "is empty, and nothing new is placed there"
    err().print(f"[bold green]✓[/] {node.name} {did}.", highlight=False)


def _nodes(lab: Lab) -> tuple[NodeStatus, ...]:
    from llmlab.engines.ray.draining import nodes_of

    return nodes_of(lab)
