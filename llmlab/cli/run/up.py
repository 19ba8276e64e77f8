from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.options import switch
from llmlab.cli.output import DryRunOption, err, out, print_commands, progress, show_warning
from llmlab.cli.session import EngineOption, Session
from llmlab.names import CHAT

if TYPE_CHECKING:
    from llmlab.client.connection import Trust
    from llmlab.config.gateway import Gateway
    from llmlab.config.schema import Observability
    from llmlab.engines.status import LabStatus


def up(
    context: typer.Context,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            autocompletion=completing.models,
            help="Deploy this model; repeat for several.",
        ),
    ] = None,
    port: Annotated[int | None, typer.Option(metavar="PORT", help="Port of the gateway.")] = None,
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Address the gateway listens on.")
    ] = None,
    tls: Annotated[
        bool,
        switch("--tls", "HTTPS at that port, by a certificate of yours or one that the lab signs."),
    ] = False,
    insecure: Annotated[
        bool,
        switch("--insecure", "Listen beyond loopback without TLS, for all on the way to read."),
    ] = False,
    waf: Annotated[
        bool, switch("--waf", "A web application firewall that looks at all but the texts.")
    ] = False,
    engine: EngineOption = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Engine ray: of a head elsewhere, with ray.token_file."
        ),
    ] = None,
    demo: Annotated[
        bool,
        switch("--demo", "Accept the reference lab's published token as well."),
    ] = False,
    observability: Annotated[
        bool,
        switch("--observability", "Prometheus and Grafana as well, in containers."),
    ] = False,
    as_configured: Annotated[
        bool,
        switch("--as-configured", "Forget what was deployed, promoted, routed and flagged since."),
    ] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Bring the lab up, or bring a running lab to what the configuration says.

    What was deployed, promoted or routed since stays as it is, and is said in one line; so
    --model says what the configuration says otherwise, and moves no route.
    """
    from dataclasses import replace

    from llmlab.delivery.merging import AS_CONFIGURED, merge, told
    from llmlab.delivery.noting import budgets_are, issuers_changed, keys_changed, lab_is_up
    from llmlab.delivery.resetting import reset
    from llmlab.engines.address import refuse_in_clear
    from llmlab.engines.choice import choose_engine
    from llmlab.engines.compose.mounts import budgets_unkept
    from llmlab.engines.console import unserved, why_none
    from llmlab.engines.issuers import issuers_status
    from llmlab.engines.planning import make_plan
    from llmlab.engines.turns import processes_turn
    from llmlab.errors import UsageError
    from llmlab.ledger.store import Store
    from llmlab.traffic import Traffic

    session = Session.of(context)
    flags = {"gateway.port": port, "gateway.host": host, "engine": engine and engine.value,
             "gateway.tls.enabled": tls or None, "gateway.waf.enabled": waf or None,
             "gateway.insecure": insecure or None, "ray.address": address,
             "observability.enabled": observability or None}  # fmt: skip
    loaded = session.load(flags)
    lab = session.lab()
    if demo and not loaded.config.gateway.loopback:
        raise UsageError(
            f"--demo would let anybody in through {loaded.config.gateway.host}",
            fix="llmlab up --demo --host 127.0.0.1",
        )
    refuse_in_clear(loaded.config)
    chosen, why = choose_engine(loaded.config, lab)
    if was := _moves_from(chosen.status(), loaded.config.gateway.url):
        show_warning(
            f"The gateway moves from {was} to {loaded.config.gateway.url}.\n"
            "To keep an address for good, set gateway.host, gateway.port and gateway.tls.enabled "
            "in configs/lab.toml."
        )
    config, only = session.catalogue(loaded.config).with_models(model or ())
    runs_here = chosen.name != "compose"
    # Plain lines and no spinner: a download draws progress bars of its own.
    plan = make_plan(config, lab.root, _say, only=only, fetch=not dry_run, runs_here=runs_here)
    if dry_run:
        traffic = Traffic() if as_configured else Store(lab).traffic()
        plan = merge(lab, plan, traffic, _say, fetch=False, runs_here=runs_here)
        print_commands(chosen.commands(plan))
        return
    before = session.keys().read()
    keys = session.keys().ensure(demo_key=demo)
    keys_changed(session.store(), "made", before, keys)
    if plan.config.gateway.tls.client_subjects:
        keys = session.keys().ensure_signer()
    if as_configured:
        reset(lab)
    with processes_turn(lab):
        traffic = Store(lab).traffic()
        plan = merge(lab, plan, traffic, _say, fetch=True, runs_here=runs_here)
        plan = replace(plan, warnings=(*plan.warnings, *unserved(lab, plan.config, chosen.name)))
        if not runs_here:
            plan = replace(plan, warnings=(*plan.warnings, *budgets_unkept(lab, plan.config)))
        with progress("starting") as say:
            changed = chosen.up(plan, say)
        # Within the turn: as it is now, whatever a `down` that waits for its turn will do.
        status = chosen.status()
        issuers_changed(session.store(), plan.config.auth)
        if changed:
            lab_is_up(session.store(), status, plan.routes)
        budgets_are(session.store(), plan.config.budgets)
    if differs := told(plan):
        show_warning(f"Beyond lab.toml: {differs}.\nFix: {AS_CONFIGURED}")
    for warning in (*plan.warnings, *issuers_status(lab).warnings):
        show_warning(warning)
    if warning := _of_its_address(loaded.config.gateway):
        show_warning(warning)
    if loaded.config.observability.enabled and chosen.name != "compose":
        show_warning(
            "Prometheus and Grafana run in containers, and this lab runs as processes.\n"
            "Fix: llmlab up --engine compose, or have a Prometheus of your own read "
            "llmlab metrics --listen 9464"
        )
    if keys.has_demo:
        show_warning(
            "Demo mode: anybody on this machine can use the published token.\n"
            "Fix: llmlab keys revoke 0001"
        )
    err().print(_headline(status, changed, chosen.name, why), soft_wrap=True)
    if loaded.config.observability.enabled and chosen.name == "compose":
        err().print(_where_to_look(loaded.config.observability), highlight=False)
    if changed:
        console = not why_none(lab, plan.config, chosen.name)
        out().print(_what_next(status, session.trust(), console=console), highlight=False)


def _of_its_address(gateway: Gateway) -> str:
    if gateway.in_clear:
        return (
            f"Other machines can reach the gateway at {gateway.host}, and tokens and texts travel "
            "unencrypted.\nFix: llmlab up --tls, or set gateway.host to 127.0.0.1"
        )
    tls = gateway.tls
    if tls.enabled and gateway.everywhere and not tls.own and not tls.names:
        return (
            "The certificate is for this machine's loopback alone, so nobody elsewhere takes it.\n"
            "Fix: names in [gateway.tls]: those by which others ask for this machine; then "
            "llmlab up"
        )
    return ""


def _moves_from(status: LabStatus, url: str) -> str:
    """The address of a running lab, if it is another than the one that is asked for."""
    return status.gateway.url if status.running and status.gateway.url != url else ""


def _say(text: str) -> None:
    err().print(text, style="dim", markup=False, highlight=False, soft_wrap=True)


def _headline(status: LabStatus, changed: bool, engine: str, why: str) -> str:
    did = "The lab is up" if changed else "The lab was up already; nothing changed"
    return f"[bold green]✓[/] {did}: {status.gateway.url} [dim](engine {engine}, {why})[/]"


def _where_to_look(ports: Observability) -> str:
    return (
        f"  Grafana http://127.0.0.1:{ports.grafana_port}, "
        f"Prometheus http://127.0.0.1:{ports.prometheus_port}"
    )


def _what_next(status: LabStatus, trust: Trust, *, console: bool) -> str:
    from llmlab.client.snippets import curl_options

    stable, url = max(status.deployments, key=lambda one: one.weight), status.gateway.url
    chats = [one for one in status.deployments if one.weights.get(CHAT)]
    chat = max(chats, key=lambda one: one.weights[CHAT], default=None)
    return "\n".join((
        f"[bold]{stable.model}[/] ({stable.runtime}) answers at {url}/summarize/",
        *([f"[bold]{chat.model}[/] ({chat.runtime}) answers at {url}/v1/chat/completions"]
          if chat else []),
        "",
        "Try:",
        "  llmlab summarize FILE            a summary of a text file",
        *(["  llmlab chat -i                   a conversation"] if chat else []),
        "  llmlab status                    what runs, and how it is",
        *([f"  llmlab console                   the same in a browser: {url}/console/"]
          if console else []),
        f"  curl {curl_options(url, trust)}-H @<(llmlab token --header) {url}/",
        *(["  llmlab tls trust                 how others come to trust its certificate"]
          if status.gateway.certificate and status.gateway.certificate.ours else []),
        "  llmlab down                      stop everything",
    ))  # fmt: skip
