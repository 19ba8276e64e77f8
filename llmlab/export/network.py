"""Who may talk to whom: nobody, but for what is said here.

The APIs ask nobody for a token, and believe the gateway whose request it is. So whoever else
reached one could ask it in anybody's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from llmlab.export import apis, gateway, pods
from llmlab.export.deployed import Api
from llmlab.export.pods import Manifest
from llmlab.export.wishes import Wishes
from llmlab.gateway import metrics

# To any address: a name server may be in a namespace of its own, or at an address of the node.
NAMES: Manifest = {
    "ports": [{"port": port, "protocol": protocol} for port in (53, 5353)
              for protocol in ("UDP", "TCP")]
}  # fmt: skip


def policies(listed: Sequence[Api], wishes: Wishes) -> list[Manifest]:
    """Everything is denied to the lab's pods; then the gateway is let to the APIs, everybody to
    the gateway, Prometheus to its metrics, and an API to the model elsewhere that it asks."""
    namespace = wishes.namespace
    to_api: Manifest = {"podSelector": {"matchLabels": pods.component(pods.API)}}
    from_gateway: Manifest = {"podSelector": {"matchLabels": pods.component(pods.GATEWAY)}}
    prometheus: Manifest = {
        "namespaceSelector": {},
        "podSelector": {"matchLabels": pods.named("prometheus")},
    }
    return [
        _policy("default-deny", namespace, pods.PART, ingress=[], egress=[]),
        _policy(
            gateway.NAME, namespace, pods.component(pods.GATEWAY),
            ingress=[
                {"ports": [_tcp(gateway.PORT)]},
                {"from": [prometheus], "ports": [_tcp(metrics.PORT)]},
            ],
            egress=[{"to": [to_api], "ports": [_tcp(apis.PORT)]}, NAMES],
        ),
        _policy(
            "llmapi", namespace, pods.component(pods.API),
            ingress=[{"from": [from_gateway], "ports": [_tcp(apis.PORT)]}],
        ),
        *(
            _policy(
                api.name, namespace, pods.named(api.name),
                egress=[{"ports": [_tcp(_port_of(api))]}, NAMES],
            )
            for api in listed if api.elsewhere
        ),
    ]  # fmt: skip


def _policy(
    name: str, namespace: str, selected: dict[str, str], *,
    ingress: list[Manifest] | None = None, egress: list[Manifest] | None = None,
) -> Manifest:  # fmt: skip
    """None: nothing is said of that direction."""
    rules = {"Ingress": ingress, "Egress": egress}
    said = {kind: rule for kind, rule in rules.items() if rule is not None}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(pods.PART)},
        "spec": {
            "podSelector": {"matchLabels": dict(selected)},
            "policyTypes": list(said),
            **{kind.lower(): rule for kind, rule in said.items() if rule},
        },
    }


def _tcp(port: int) -> Manifest:
    return {"port": port, "protocol": "TCP"}


def _port_of(api: Api) -> int:
    url = urlsplit(api.settings.model.base_url)
    return url.port or (443 if url.scheme == "https" else 80)
