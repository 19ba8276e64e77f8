"""What the gateway of a lab is told of its plan, whichever engine runs it."""

from __future__ import annotations

from collections.abc import Iterable

from llmlab.auth.keys import KeySet
from llmlab.config import Gateway
from llmlab.engines.base import Plan
from llmlab.gateway import GatewayPlan, TlsFront, Upstream
from llmlab.issuers.trust import Trust
from llmlab.lab import Lab
from llmlab.tls.store import Certificates


def fronting(
    lab: Lab, plan: Plan, keys: KeySet, trust: Trust, *, listen: str,
    upstreams: Iterable[Upstream], redirect: Iterable[str] = (),
) -> GatewayPlan:  # fmt: skip
    """Where it finds its files, and where its own metrics are, is the engine's to add.

    Args:
        redirect: addresses of plain HTTP that lead to the one of TLS.
    """
    gateway = plan.config.gateway
    return GatewayPlan(
        listen=listen,
        stable=plan.leading(),
        further={route: plan.leading(route) for route in plan.further},
        upstreams=tuple(upstreams),
        rate_limit=gateway.rate_limit,
        max_body=gateway.max_body,
        connections=gateway.connections,
        cors_origins=tuple(gateway.cors_origins),
        timeout=plan.config.service.timeout,
        max_text_chars=plan.config.service.max_text_chars,
        demo_kid=keys.demo_kid,
        ended=keys.ended,
        api_keys=keys.api_tokens(),
        default_scopes=tuple(plan.config.auth.default_scopes),
        trust=trust,
        leeway=gateway.token_leeway,
        edition=gateway.edition,
        traffic=plan.traffic,
        budgets=tuple(plan.config.budgets),
        longest=longest(plan),
        tls=_tls(lab, gateway, keys, tuple(redirect)),
    )


def longest(plan: Plan) -> float:
    """Seconds of the longest answer that any deployment gives."""
    service = plan.config.service
    streams = [one.model.stream_timeout for one in plan.deployments]
    return max(service.timeout, service.stream_timeout, *streams)


def _tls(lab: Lab, gateway: Gateway, keys: KeySet, redirect: tuple[str, ...]) -> TlsFront | None:
    if not gateway.tls.enabled:
        return None
    kept = Certificates(lab).kept()
    return TlsFront(
        kept.pair.certificate, kept.pair.key, port=gateway.port, client_ca=kept.client_ca,
        client=gateway.tls.client, hsts=gateway.tls.hsts, redirect=redirect,
        client_tokens=keys.certificate_tokens(gateway.tls.client_subjects),
    )  # fmt: skip
