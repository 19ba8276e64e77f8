"""The gateway of an export: the very nginx.conf, what is rendered beside it, and its manifests."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from llmlab.auth.keys import KeySet
from llmlab.engines.base import Plan
from llmlab.engines.compose.edition import gateway_image
from llmlab.engines.compose.images import BuiltImages
from llmlab.engines.compose.mounts import licence_file
from llmlab.engines.fronting import fronting, longest
from llmlab.errors import UsageError
from llmlab.export import apis, pods
from llmlab.export.deployed import Api, named
from llmlab.export.pods import Manifest
from llmlab.export.wishes import Wishes
from llmlab.gateway import GatewayPlan, Upstream, fitting, metrics, render, tls
from llmlab.gateway.render import GRACE
from llmlab.issuers.trust import trust_of
from llmlab.lab import Lab

NAME = "gateway"
PORT = 8000  # of the container, whose user may have none below 1024
USER = 10101
MOUNT = Path("/etc/nginx/lab")
PREFIX = "/run/llmlab"  # of NGINX: its pid, and what it puts aside
CONFIGURATION, KEYS = "gateway-configuration", "gateway-keys"  # a ConfigMap, and a Secret
LICENSE = "license.jwt"
SECRET = frozenset({"llmapi.jwk", tls.KEY, LICENSE})
ROOM = 1 << 20  # bytes that a ConfigMap, or a Secret, may have
PLUS_STATE = "/var/lib/nginx/state"


@dataclass(frozen=True)
class Front:
    """
    Args:
        conf: {path below the configuration's folder: content}, for everybody who may look.
        secret: likewise, and for the gateway alone.
        build: the arguments of ``llmlab build`` that make its image; () where it is another's.
    """

    image: str
    conf: Mapping[str, str]
    secret: Mapping[str, str] = field(repr=False)
    build: tuple[str, ...]
    processes: int
    port: int  # of its Service
    patience: int  # seconds of the longest answer
    plus: bool


def front(lab: Lab, plan: Plan, keys: KeySet, listed: Sequence[Api], wishes: Wishes) -> Front:
    """Render it.

    Raises:
        UsageError: it is more than a ConfigMap takes, or NGINX Plus has no licence.
        ConfigError: nginx.conf does not do what the lab's routes need.
    """
    wanted = gateway_plan(lab, plan, keys, listed, wishes)
    conf = fitting(lab.nginx_conf.read_text(encoding="utf-8"), wanted)
    files = {
        "nginx.conf": conf,
        "llmapi.jwk": keys.gateway_jwks(wanted.trust.jwks),
        **licence_file(lab, plan.config),
        **render(wanted),
    }
    image, build = _image(plan, wishes)
    found = Front(
        image=image,
        conf={name: text for name, text in files.items() if name not in SECRET},
        secret={name: text for name, text in files.items() if name in SECRET},
        build=build,
        processes=wishes.gateways or (1 if plan.config.budgets else 2),
        port=443 if plan.config.gateway.tls.enabled else 80,
        patience=math.ceil(longest(plan)) + GRACE,
        plus=plan.config.gateway.edition == "plus",
    )
    if sum(len(text.encode()) for text in found.conf.values()) > ROOM:
        raise UsageError(
            "the gateway's configuration is more than the 1 MiB that a ConfigMap takes",
            fix="fewer API keys, flags or deployments: llmlab keys api list, llmlab flag list",
        )
    return found


def gateway_plan(
    lab: Lab, plan: Plan, keys: KeySet, listed: Sequence[Api], wishes: Wishes
) -> GatewayPlan:
    """What differs from the lab's own gateway: where it listens, and where the APIs are. It finds
    their pods by name, and asks the one of them with the least to do."""
    upstreams = [
        Upstream(
            api.deployment,
            (f"{api.name}.{wishes.namespace}.svc.{wishes.domain}:{apis.PORT} resolve",),
            # One pod of today may be several in a minute: never fewer than two.
            replicas=max(2, api.most),
            elsewhere=api.elsewhere,
            fallback=plan.fallback(api.deployment),
            model=plan.settings(api.deployment).model,
        )
        for api in listed
    ]
    trust = trust_of(lab, plan.config.auth, keys.kids, time.time())
    wanted = replace(
        fronting(lab, plan, keys, trust, listen=str(PORT), upstreams=upstreams),
        metrics=str(metrics.PORT),
        license=str(MOUNT / LICENSE),
        resolver=wishes.name_server,
    )
    return replace(wanted, tls=wanted.tls and replace(wanted.tls, port=443))


def _image(plan: Plan, wishes: Wishes) -> tuple[str, tuple[str, ...]]:
    if given := wishes.images.get(NAME):
        return given, ()
    ours = BuiltImages.nginx.partition(":")[0]
    image = gateway_image(plan.config, ours)
    if image != ours:
        return image, ()
    push = ["--push", wishes.registry] if wishes.registry else []
    build = ("--only", "nginx", "--tag", wishes.tag, *push)
    return named(ours, wishes.tag, wishes.registry), build


def key_of(path: str) -> str:
    """How a file is called in a ConfigMap or a Secret, where no name has a slash."""
    return path.replace("/", ".")


def manifests(front: Front, wishes: Wishes) -> list[Manifest]:
    """Deployment, Service and PodDisruptionBudget."""
    namespace = wishes.namespace

    def source(name: str, files: Mapping[str, str]) -> Manifest:
        return {"name": name, "items": [{"key": key_of(one), "path": one} for one in files]}

    volumes: list[Manifest] = [
        {"name": "configuration", "projected": {"defaultMode": 0o440, "sources": [
            {"configMap": source(CONFIGURATION, front.conf)},
            {"secret": source(KEYS, front.secret)},
        ]}},
        {"name": "run", "emptyDir": {"sizeLimit": "1Gi"}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
    ]  # fmt: skip
    mounts: list[Manifest] = [
        {"name": "configuration", "mountPath": str(MOUNT), "readOnly": True},
        {"name": "run", "mountPath": PREFIX},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  a pod's own
    ]
    command: Manifest = {}
    if front.plus:
        command = {"command": ["nginx", "-p", PREFIX, "-e", "stderr", "-g", "daemon off;"]}
        volumes.append({"name": "state", "emptyDir": {"sizeLimit": "64Mi"}})
        mounts.append({"name": "state", "mountPath": PLUS_STATE})
    # That it listens, and not that a model answers: without one, it is who says so.
    listens = {"tcpSocket": {"port": "http"}, "periodSeconds": 5, "timeoutSeconds": 3}
    container: Manifest = {
        "name": pods.GATEWAY,
        "image": front.image,
        **command,
        "args": ["-c", f"{MOUNT}/nginx.conf"],
        "ports": [
            {"name": "http", "containerPort": PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": metrics.PORT, "protocol": "TCP"},
        ],
        "resources": {
            "requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "1Gi"},
        },
        "volumeMounts": mounts,
        "readinessProbe": listens | {"failureThreshold": 2},
        "livenessProbe": listens | {"failureThreshold": 6},
    }  # fmt: skip
    return [
        pods.service(NAME, namespace, pods.GATEWAY, front.port),
        pods.deployment(
            NAME, namespace, pods.GATEWAY, user=USER, container=container, volumes=volumes,
            patience=front.patience, processes=front.processes, pull_secret=wishes.pull_secret,
        ),
        pods.disruption_budget(NAME, namespace, pods.GATEWAY),
    ]  # fmt: skip
