"""What `llmlab metrics` prints for people: the deployments side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from llmlab.cli.output import escaped
from llmlab.cli.run.figures import counts, mib, percent, rate, seconds

if TYPE_CHECKING:
    from rich.table import Table

    from llmlab.observe.apis import ApiFigures
    from llmlab.observe.observer import DeploymentView, View


def tables(view: View) -> Iterator[Table | str]:
    yield _deployments(view)
    yield ""
    yield _gateway(view)


def _deployments(view: View) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column("", style="dim", no_wrap=True)
    for one in view.deployments:
        table.add_column(escaped(one.name), justify="right")

    def add(name: str, cell: Callable[[DeploymentView], str]) -> None:
        table.add_row(name, *(cell(one) for one in view.deployments))

    def told(cell: Callable[[ApiFigures], str]) -> Callable[[DeploymentView], str]:
        return lambda one: cell(one.api) if one.api else "-"

    add("model", told(_model))
    add("runtime", told(lambda api: api.runtime or "-"))
    add("weight", lambda one: percent(one.weight))
    table.add_section()
    table.add_row(f"[bold]last {view.glance.seconds:.0f} s at the gateway[/]")
    add("  share", lambda one: percent(_share(one, view)))
    add("  requests/s", lambda one: rate(one.seen.per_second))
    add("  answers", lambda one: counts(one.seen.statuses) or "-")
    add("  errors", lambda one: percent(one.seen.errors))
    add("  p50", lambda one: seconds(one.seen.p50))
    add("  p95", lambda one: seconds(one.seen.p95))
    add("  p99", lambda one: seconds(one.seen.p99))
    table.add_section()
    table.add_row("[bold]since its API started[/]")
    add("  requests", told(lambda api: f"{api.requests:,}"))
    add("  tokens in", told(lambda api: f"{api.tokens_in:,}"))
    add("  tokens out", told(lambda api: f"{api.tokens_out:,}"))
    add("  texts in a batch", told(_batch))
    add("  from the cache", told(_hits))
    add("  turned away", told(lambda api: f"{sum((api.rejected or {}).values()):,}"))
    table.add_section()
    table.add_row("[bold]now[/]")
    add("  waiting", told(lambda api: f"{api.waiting} of {api.queue}" if api.queue else "-"))
    add("  texts at work", told(lambda api: f"{api.running_texts}"))
    add("  memory, MiB", lambda one: mib(one.memory))
    return table


def _gateway(view: View) -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 3))
    table.add_column(style="dim")
    table.add_column()
    table.add_row("refused by the gateway", counts(view.glance.refused) or "none")
    wanted = view.wanted
    made = (
        f", {route} of rollout {number}"
        + (f", step {wanted.steps[route]}" if wanted.steps[route] else "")
        for route, number in wanted.rollouts.items()
    )
    table.add_row("routes", f"revision {wanted.revision}{''.join(made)}")
    for name, share in view.wanted.shadows.items():
        table.add_row("shadow", f"{escaped(name)} {percent(share)}")
    for name, share in view.wanted.flags.items():
        table.add_row("flag", f"{escaped(name)} {percent(share)}")
    return table


def _share(one: DeploymentView, view: View) -> float:
    if view.glance.shared and math.isnan(one.seen.share):
        return 0.0
    return one.seen.share


def _model(api: ApiFigures) -> str:
    from llmlab.models.identity import short_id

    return f"{escaped(api.model)}@{short_id(api.model_id)}" if api.model else "loading"


def _batch(api: ApiFigures) -> str:
    return f"{api.batched / api.batches:.1f}" if api.batches else "-"


def _hits(api: ApiFigures) -> str:
    answers = api.answers or {}
    total = sum(answers.values())
    return percent(100 * (1 - answers.get("miss", 0) / total)) if total else "-"
