from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli.options import switch
from llmlab.cli.output import Format, OutputOption, duration, out, print_json
from llmlab.cli.session import EngineOption, Session

if TYPE_CHECKING:
    from rich.tree import Tree

    from llmlab.engines.base import Engine
    from llmlab.engines.status import DeploymentStatus, LabStatus, NodeStatus
    from llmlab.issuers.status import IssuerStatus
    from llmlab.lab import Lab

REFRESH = 1.0  # seconds
MIB, GIB = 1 << 20, 1 << 30


def status(
    context: typer.Context,
    watch: Annotated[bool, switch("--watch -w", "Keep looking; Ctrl-C ends.")] = False,
    engine: EngineOption = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Show what runs and how it is. Exit code 0 if all of it is healthy, else 1."""
    from llmlab.delivery.looking import look

    session = Session.of(context)
    chosen, lab = session.engine(engine), session.lab()
    if watch:
        _watch(chosen, lab)
    found = look(chosen, lab)
    if output is Format.JSON:
        print_json(found.as_json())
    else:
        out().print(tree(found))
    if not found.healthy:
        raise typer.Exit(1)


def _watch(engine: Engine, lab: Lab) -> None:
    from rich.live import Live

    from llmlab.cli.watching import keys
    from llmlab.delivery.looking import look

    console = out()
    if not console.is_terminal:  # one after the other, for a pipe or a file
        while True:
            console.print(tree(look(engine, lab)))
            console.file.flush()
            time.sleep(REFRESH)
    first = tree(look(engine, lab))
    with keys() as quits, Live(first, console=console, auto_refresh=False) as live:
        while not quits(REFRESH):
            live.update(tree(look(engine, lab)), refresh=True)


def tree(status: LabStatus) -> Tree:
    """The lab as a tree: gateway, then its deployments."""
    from rich.markup import escape
    from rich.tree import Tree

    root = Tree(f"[bold]{escape(status.lab)}[/] [dim]engine {status.engine}[/]")
    for warning in status.warnings:
        root.add("[yellow]![/] " + "\n  ".join(escape(line) for line in warning.splitlines()))
    if not status.running:
        root.add("[dim]not running; [/]llmlab up[dim] starts it[/]")
        return root
    gateway = status.gateway
    branch = root.add(
        f"{_mark(gateway.healthy)} [bold]gateway[/] {gateway.url}\n"
        f"  [dim]nginx {gateway.nginx}, {gateway.state.lower()}, up {duration(gateway.uptime)}[/]"
    )
    for one in status.deployments:
        branch.add(_line(one))
    for node in status.nodes:
        root.add(_node(node))
    if waf := status.waf:
        root.add(
            f"{_mark(waf.answers)} [bold]waf[/] {waf.mode}\n"
            f"  [dim]{waf.state.lower()}, paranoia {waf.paranoia}, threshold {waf.threshold}[/]"
        )
    if status.controller:
        well = status.controller in ("RUNNING", "STARTING")
        root.add(
            f"{_mark(well)} [bold]controller[/] [dim]{status.controller.lower()}, "
            "drives a rollout[/]"
        )
    if console := status.console:
        root.add(
            f"{_mark(console.healthy)} [bold]console[/] {console.url}\n"
            f"  [dim]{console.state.lower()}; "
            "[/]llmlab console[dim] opens it[/]"
        )
    for issuer in status.issuers:
        root.add(_issuer(issuer))
    if status.notebook:
        root.add(f"{_mark(True)} [bold]notebook[/] {status.notebook}")
    return root


def _node(one: NodeStatus) -> str:
    from rich.markup import escape

    has = f"{one.cores:g} core{'s' * (one.cores != 1)}" + (
        f", {one.gpus:g} GPUs" if one.gpus else ""
    )
    what = "the cluster's head, " * one.is_head + one.state
    on = ", ".join(one.replicas) or "no replicas"
    return (
        f"{_mark(one.state == 'ready')} [bold]node[/] {escape(one.name)}\n"
        f"  [dim]{what}, {has}, {one.memory / GIB:.1f} GiB; {on}[/]"
    )


def _issuer(one: IssuerStatus) -> str:
    from rich.markup import escape

    count = len(one.keys)
    left_out = f", {len(one.left_out)} left out" if one.left_out else ""
    age = "never fetched" if one.age is None else f"fetched {duration(one.age)} ago"
    return (
        f"{_mark(one.state != 'refused')} [bold]issuer {one.name}[/] {escape(one.issuer)}\n"
        f"  [dim]{one.state}, {count} key{'' if count == 1 else 's'}{left_out}, {age}[/]"
    )


def _line(one: DeploymentStatus) -> str:
    from llmlab.models.identity import short_id

    waiting = f", {one.waiting} waiting" if one.waiting else ""
    parts = [f"{share:g} % of {route}" for route, share in one.weights.items()]
    path = ", ".join(parts) or f"0 %  /models/{one.name}/"
    spare = f", spare {one.spare}" if one.spare else ""
    bounds = f" ({one.bounds})" if one.bounds else ""
    several = f"{one.ready} of {one.replicas}{bounds} ready, " if one.replicas > 1 or bounds else ""
    model = f"{one.model}@{short_id(one.model_id)} ({one.runtime})" if one.model else "loading"
    if not one.replicas:
        return (
            f"[dim]○[/] [bold]{one.name}[/] {path}\n"
            f"  [dim]{one.model} ({one.runtime}), rests{bounds}; [/]"
            f"llmlab deployment scale {one.name} 1[dim] wakes it[/]"
        )
    return (
        f"{_mark(one.healthy)} [bold]{one.name}[/] {path}\n"
        f"  [dim]{model}, {several}{one.state.lower()}, up {duration(one.uptime)}, "
        f"{one.requests} request{'' if one.requests == 1 else 's'}{waiting}{spare}{_memory(one)}[/]"
    )


def _memory(one: DeploymentStatus) -> str:
    if not one.memory:
        return ""
    limit = f" of {one.memory_limit // MIB}" if one.memory_limit else ""
    return f", {one.memory // MIB}{limit} MiB"


def _mark(healthy: bool) -> str:
    return "[green]●[/]" if healthy else "[red]●[/]"
