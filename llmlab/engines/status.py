"""The words in which an engine reports how a lab is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from llmlab.engines.console import ConsoleStatus
from llmlab.engines.waf import WafStatus
from llmlab.issuers.status import IssuerStatus


@dataclass(frozen=True)
class DeploymentStatus:
    """A deployment as it is. ``weight`` is its percentage of /summarize/, without matches, and
    ``weights`` that of each route that it has a part of.

    ``ready`` of its ``replicas`` answer; the first one's are ``state``, ``pid`` and ``uptime``.
    One that rests has none, and is RESTING. ``bounds``, as 1-4, are those between which they
    follow what is asked. ``spare`` says how its second process is, "" if it has none. ``memory``
    in bytes, of all its processes; ``memory_limit`` is 0 where there is none. ``waiting`` counts
    the requests that have no answer yet.
    """

    name: str
    model: str
    model_id: str
    runtime: str
    healthy: bool
    weight: float
    state: str
    pid: int | None = None
    uptime: float = 0.0
    requests: int = 0
    spare: Literal["", "ready", "loading", "down"] = ""
    memory: int = 0
    memory_limit: int = 0
    waiting: int = 0
    replicas: int = 1
    ready: int = 1
    bounds: str = ""
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CertificateStatus:
    """The certificate with which the gateway speaks TLS.

    ``signed_by``: whose it is; ``ours`` where that is the lab's own authority. ``ends`` in UTC,
    ISO 8601, and ``days_left`` until then. ``fingerprint``: its SHA-256. ``clients``: whether
    theirs are asked for: "", optional or required. ``refused``: why a newer one was not taken
    over; "" where there is none.
    """

    names: tuple[str, ...]
    signed_by: str
    ours: bool
    ends: str
    days_left: int
    fingerprint: str
    clients: Literal["", "optional", "required"] = ""
    refused: str = ""


@dataclass(frozen=True)
class GatewayStatus:
    """``certificate``: null where it speaks no TLS."""

    url: str
    healthy: bool
    state: str
    nginx: str = ""
    pid: int | None = None
    uptime: float = 0.0
    certificate: CertificateStatus | None = None


@dataclass(frozen=True)
class NodeStatus:
    """A machine that has replicas. ``state``: ``ready``, ``draining`` (they leave it) or ``away``
    (nothing is heard of it). ``cores``, ``gpus`` and ``memory`` (bytes) that it has for them, and
    ``replicas``, those that are there."""

    name: str
    host: str
    state: Literal["ready", "draining", "away"]
    cores: float
    gpus: float
    memory: int
    is_head: bool
    replicas: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabStatus:
    """The whole lab at one moment. Times in seconds.

    ``notebook`` is the address of a running JupyterLab, without its token; "" if none runs.
    ``controller`` says how the process is that drives a rollout; "" if none is under way.
    ``issuers`` are the identity providers whose tokens are valid beside the lab's own.
    ``waf``: null where none is configured; ``console`` likewise. ``nodes``: the machines of the
    engine ray.
    """

    lab: str
    engine: str
    running: bool
    healthy: bool
    gateway: GatewayStatus
    deployments: tuple[DeploymentStatus, ...] = ()
    warnings: tuple[str, ...] = ()
    notebook: str = ""
    controller: str = ""
    issuers: tuple[IssuerStatus, ...] = ()
    waf: WafStatus | None = None
    console: ConsoleStatus | None = None
    nodes: tuple[NodeStatus, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The document of `status -o json`."""
        return asdict(self)
