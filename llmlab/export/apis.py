"""The manifests of a model deployment."""

from __future__ import annotations

import math
from pathlib import Path

from llmlab.engines.compose.baked import BAKED_MODEL
from llmlab.engines.compose.upstreams import MOUNT as UPSTREAM
from llmlab.engines.compose.upstreams import as_mounted
from llmlab.engines.local.programs import STOP_GRACE
from llmlab.export import pods
from llmlab.export.deployed import Api
from llmlab.export.pods import Manifest
from llmlab.export.wishes import Wishes
from llmlab.service.settings import Settings

PORT = 8000
USER = 10001  # of the image
SETTINGS = Path("/etc/llmapi")
CLAIMED_MODEL = Path("/model")
LOADING = 900  # seconds that a model may take to load, from a slow disk
LEAST_MEMORY = 256  # MiB, of a process without weights
CORES = 2  # of a process with weights, where nobody says
BUSY = 80  # percent of its cores, above which there are to be more processes


def settings_of(api: Api, wishes: Wishes) -> Settings:
    """As its process reads them, in its pod."""
    told = as_mounted(api.settings)
    where = CLAIMED_MODEL if wishes.claim else BAKED_MODEL
    return told.model_copy(update={"folder": where if api.has_weights else None})


def manifests(api: Api, wishes: Wishes) -> list[Manifest]:
    """Deployment, Service, PodDisruptionBudget, and HorizontalPodAutoscaler if it computes."""
    name, namespace = api.name, wishes.namespace
    scaled = api.most > api.processes
    mounts: list[Manifest] = [
        {"name": "settings", "mountPath": str(SETTINGS), "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  a pod's own
    ]
    volumes: list[Manifest] = [
        {"name": "settings", "configMap": {"name": f"{name}-settings"}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
    ]
    if api.has_weights and wishes.claim:
        mounts.append({
            "name": "model", "mountPath": str(CLAIMED_MODEL), "subPath": api.settings.name,
            "readOnly": True,
        })  # fmt: skip
        claim = {"claimName": wishes.claim, "readOnly": True}
        volumes.append({"name": "model", "persistentVolumeClaim": claim})
    if sources := _of_upstream(api):
        mounts.append({"name": "upstream", "mountPath": str(UPSTREAM), "readOnly": True})
        volumes.append({"name": "upstream", "projected": {
            "defaultMode": 0o440, "sources": sources,
        }})  # fmt: skip
    container: Manifest = {
        "name": pods.API,
        "image": api.image,
        "args": [f"{SETTINGS}/settings.json", "--host", "0.0.0.0", "--port", str(PORT)],  # noqa: S104
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "resources": _resources(api, wishes),
        "volumeMounts": mounts,
        **_probes(),
    }
    deployment = pods.deployment(
        name, namespace, pods.API, user=USER, container=container, volumes=volumes,
        patience=math.ceil(api.settings.service.timeout) + STOP_GRACE,
        processes=None if scaled else api.processes, pull_secret=wishes.pull_secret,
    )  # fmt: skip
    return [
        pods.service(name, namespace, pods.API, PORT, headless=True),
        deployment,
        pods.disruption_budget(name, namespace, pods.API),
        *([_autoscaler(api, wishes)] if scaled else []),
    ]


def _of_upstream(api: Api) -> list[Manifest]:
    """What is mounted of a model elsewhere: its key, and whom it trusts."""
    sources: list[Manifest] = []
    if api.settings.key:
        sources.append({"secret": {"name": f"{api.name}-key"}})
    if api.settings.ca:
        sources.append({"configMap": {"name": f"{api.name}-ca"}})
    return sources


def _resources(api: Api, wishes: Wishes) -> Manifest:
    said = api.settings.model.memory or api.settings.service.memory
    limit = said.upper() + "i"  # as Docker reads it: 2g are 2 GiB
    if not api.has_weights:
        small = said.endswith("m") and int(said[:-1]) < LEAST_MEMORY
        least = limit if small else f"{LEAST_MEMORY}Mi"
        cpu = f"{api.cores:g}" if api.cores else "250m"
        return {"requests": {"cpu": cpu, "memory": least}, "limits": {"memory": limit}}
    # Its runtime goes by this limit of cores, and starts no more threads.
    both = {"cpu": f"{wishes.cores or api.cores or CORES:g}", "memory": limit}
    return {"requests": both, "limits": dict(both)}


def _probes() -> Manifest:
    def asking(path: str, every: int, failures: int) -> Manifest:
        where = {"path": path, "port": "http"}
        return {
            "httpGet": where, "periodSeconds": every, "timeoutSeconds": 3,
            "failureThreshold": failures,
        }  # fmt: skip

    return {
        "startupProbe": asking("/health/ready", 2, LOADING // 2),
        "readinessProbe": asking("/health/ready", 5, 2),
        "livenessProbe": asking("/health/live", 10, 6),
    }


def _autoscaler(api: Api, wishes: Wishes) -> Manifest:
    target = {"type": "Utilization", "averageUtilization": BUSY}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": pods.metadata(api.name, wishes.namespace, pods.API),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": api.name},
            "minReplicas": api.processes,
            "maxReplicas": api.most,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }
