"""What all pods have in common: labels, and as little as they may.

They fit the strictest of Kubernetes' standards, "restricted":
https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Manifest = dict[str, Any]

PART = {"app.kubernetes.io/part-of": "llmlab"}
API, GATEWAY = "api", "gateway"  # components
# Seconds for which a pod that was told to end still answers as before. Until then everybody has
# heard that it goes: name servers may give an answer for 30 s, and NGINX keeps it for 5 s.
LEAVE = 40


def named(name: str) -> dict[str, str]:
    """By what the pods of a Deployment are found."""
    return {"app.kubernetes.io/name": name}


def component(part: str) -> dict[str, str]:
    return {"app.kubernetes.io/component": part} | PART


def metadata(name: str, namespace: str, part: str) -> Manifest:
    return {"name": name, "namespace": namespace, "labels": named(name) | component(part)}


def deployment(
    name: str, namespace: str, part: str, *, user: int, container: Manifest,
    volumes: Sequence[Manifest], patience: int, processes: int | None, pull_secret: str,
) -> Manifest:  # fmt: skip
    """
    Args:
        user: and group, that it runs as.
        patience: seconds that the longest answer takes.
        processes: None where an autoscaler says how many.
    """
    pod: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": user, "runAsGroup": user, "fsGroup": user,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": LEAVE + patience,
        "topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": named(name)},
        }],
        **({"imagePullSecrets": [{"name": pull_secret}]} if pull_secret else {}),
        "containers": [{
            **container,
            "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(LEAVE)]}}},
            "securityContext": {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
        }],
        "volumes": list(volumes),
    }  # fmt: skip
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(name, namespace, part),
        "spec": {
            **({} if processes is None else {"replicas": processes}),
            "selector": {"matchLabels": named(name)},
            # The next one answers before one of before is told to end.
            "strategy": {
                "type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "template": {"metadata": {"labels": named(name) | component(part)}, "spec": pod},
        },
    }  # fmt: skip


def service(name: str, namespace: str, part: str, port: int, *, headless: bool = False) -> Manifest:
    """Args:
    headless: its name has the addresses of all pods, and none of its own.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name, namespace, part),
        "spec": {
            **({"clusterIP": "None"} if headless else {"type": "ClusterIP"}),
            "selector": named(name),
            "ports": [{"name": "http", "port": port, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def disruption_budget(name: str, namespace: str, part: str) -> Manifest:
    """One at a time: with `minAvailable: 1` a node with the only one could never be drained."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(name, namespace, part),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": named(name)},
        },
    }
