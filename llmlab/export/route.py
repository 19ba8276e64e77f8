"""An HTTPRoute of the Gateway API, which leads from a Gateway of the cluster to the lab's own:
https://gateway-api.sigs.k8s.io/api-types/httproute/"""

from __future__ import annotations

from llmlab.export import gateway, pods
from llmlab.export.gateway import Front
from llmlab.export.pods import Manifest
from llmlab.export.wishes import Wishes


def http_route(front: Front, wishes: Wishes) -> Manifest:
    """It waits as long as the lab's own gateway: a stream may take minutes."""
    namespace, _, name = wishes.parent.rpartition("/")
    parent = {"name": name, **({"namespace": namespace} if namespace else {})}
    timeouts = {"request": f"{front.patience}s", "backendRequest": f"{front.patience}s"}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": pods.metadata(gateway.NAME, wishes.namespace, pods.GATEWAY),
        "spec": {
            "parentRefs": [parent],
            **({"hostnames": list(wishes.hostnames)} if wishes.hostnames else {}),
            "rules": [{
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [{"name": gateway.NAME, "port": front.port}],
                "timeouts": timeouts,
            }],
        },
    }  # fmt: skip
