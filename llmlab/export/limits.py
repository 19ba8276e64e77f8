"""What a cluster does not get of a lab: refused where it would be less safe without, else said."""

from __future__ import annotations

from llmlab.auth import KeySet, demo
from llmlab.engines.base import Plan
from llmlab.engines.compose.mounts import refuse_redirect_port
from llmlab.engines.resting import needed
from llmlab.engines.scale_bounds import bounds_of
from llmlab.errors import AuthError, UsageError
from llmlab.export.deployed import taken
from llmlab.export.gateway import Front
from llmlab.export.wishes import Wishes
from llmlab.lab import Lab
from llmlab.network import is_loopback
from llmlab.tls.store import Certificates

# Of every export, for its README.
NEVER = (
    "The console, `llmlab top`, `trace`, `usage` and `metrics`: they read what a lab on this "
    "machine writes. In the cluster the gateway's log is its container's output, a JSON object "
    "for each request.",
    "Rollouts, drills, recordings and the ledger: nobody in the cluster moves a route. Roll out "
    "in a lab, or change the share there, then export and apply again.",
    "Revoked keys and ended tokens, as soon as they are: what was revoked in the lab holds in the "
    "cluster after the next export that is applied.",
    "Prometheus, Grafana and the notebooks' server.",
    "A second process in reserve (service.spare): there are replicas.",
    "The APIs' own metrics: whoever reaches an API's port may ask its model without a token, so "
    "the policies let nobody there but the gateway. The gateway's own are at port 9113, /metrics, "
    "for pods with the label app.kubernetes.io/name: prometheus.",
)


def refuse(plan: Plan, keys: KeySet, wishes: Wishes) -> None:
    """
    Raises:
        UsageError: something of this lab would be less safe in a cluster, or not work at all.
        AuthError: there is no key.
    """
    config = plan.config
    if not keys.keys:
        raise AuthError(
            "this lab has no key yet, and its gateway in a cluster could let nobody in",
            fix="llmlab keys init",
        )
    if keys.has_demo:
        raise UsageError(
            "the published demo key would let anybody in who reaches the gateway in the cluster",
            fix=f"llmlab keys revoke {demo.KID}",
        )
    if config.gateway.waf.enabled:
        raise UsageError(
            "gateway.waf is on, and a cluster would get the gateway without its WAF",
            fix="LLMLAB_GATEWAY_WAF_ENABLED=false llmlab export kubernetes, with the lab down, "
            "where the cluster has a WAF of its own; else llmlab up --engine compose",
        )
    if config.auth.issuers:
        names = ", ".join(one.name for one in config.auth.issuers)
        raise UsageError(
            f"nobody in a cluster would fetch the keys of the identity providers ({names}): one "
            "that a provider withdraws would be good there for ever",
            fix="take [[auth.issuers]] out of configs/lab.toml, or have the cluster's own gateway "
            "judge their tokens",
        )
    if config.budgets and wishes.gateways > 1:
        raise UsageError(
            "each process of a gateway counts for itself, so with several everybody would have "
            "each of the [[budgets]] as many times",
            fix="--gateways 1",
        )
    refuse_redirect_port(config)
    if config.gateway.tls.enabled and wishes.parent:
        raise UsageError(
            "gateway.tls is on, and an HTTPRoute speaks plain HTTP to what is behind it",
            fix="LLMLAB_GATEWAY_TLS_ENABLED=false llmlab export kubernetes ..., with the lab down; "
            "the Gateway of the cluster speaks TLS",
        )
    for one in plan.deployments:
        if one.model.runtime == "openai" and is_loopback(one.model.base_url):
            raise UsageError(
                f"{one.name} is at {one.model.base_url}, which in a pod is the pod itself",
                fix="an address that the cluster's pods reach, or without it: "
                f"llmlab deployment stop {one.deployment}",
            )


def notes(lab: Lab, plan: Plan, front: Front, wishes: Wishes) -> tuple[str, ...]:
    """What somebody who knows this lab would not expect, each with its way out."""
    config, found = plan.config, list(plan.warnings)
    under_way = [name for name in plan.routes if plan.traffic.route(name).step]
    if under_way:
        found.append(
            f"A rollout is under way on {', '.join(under_way)}: the shares are those of now, and "
            "nothing moves them in the cluster.\nFix: export again when it is over"
        )
    found += _of_replicas(plan)
    limit = config.gateway.rate_limit
    if limit.enabled and front.processes > 1:
        found.append(
            f"Each of the {front.processes} gateways counts for itself, so a subject may come to "
            f"{front.processes} times {limit.rate}.\nFix: a lower gateway.rate_limit.rate, or "
            "--gateways 1"
        )
    if config.budgets:
        found.append(
            "What budgets count begins anew with the gateway's pod, and a stream stays charged "
            "with what it reserved: in a cluster no API tells the gateway what it has used.\nFix: "
            "llmlab up, under either engine, keeps them"
        )
    if wishes.parent and config.gateway.connections:
        found.append(
            "All requests come from the addresses of the cluster's Gateway, so everybody without a "
            "valid token shares one rate limit, and gateway.connections lets all of them together "
            f"have {config.gateway.connections} under way.\n"
            "Fix: gateway.connections = 0 in configs/lab.toml, then export again"
        )
    tls = config.gateway.tls
    if tls.enabled and (facts := Certificates(lab).facts()):
        another = "your next one" if tls.own else "names in [gateway.tls], llmlab tls renew"
        found.append(
            f"The certificate is for {', '.join(facts.names)} and ends on {facts.ends:%Y-%m-%d}; "
            f"nobody in the cluster renews it.\nFix: one by whose names the cluster is asked "
            f"({another}), and another export before it ends"
        )
    return tuple(found)


def _of_replicas(plan: Plan) -> list[str]:
    """What a lab says of its replicas that these manifests cannot."""
    found = []
    may = [name for name in plan.names if not needed(plan, name)]
    rest = [name for name in may if not (bounds_of(plan, name).min and plan.replicas(name))]
    if rest:
        found.append(
            f"Without a process here, or free to be: {', '.join(rest)}. In the cluster each has at "
            "least one pod, for nobody there would wake it.\nFix: where nobody asks it there, "
            "llmlab deployment stop NAME, then export again"
        )
    with_gpus = [one.deployment for one in plan.deployments if taken(plan, one, "gpus")]
    if with_gpus:
        found.append(
            f"No GPU is asked of the cluster for {', '.join(with_gpus)}: each cluster calls its "
            "own otherwise.\nFix: a patch in an overlay, with nvidia.com/gpu or whatever its "
            "device plugin offers among the limits of the container"
        )
    return found
