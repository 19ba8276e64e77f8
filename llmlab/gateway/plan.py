"""What the gateway should do, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from llmlab.config import Gateway, RateLimit, Service
from llmlab.traffic import Traffic


@dataclass(frozen=True)
class Upstream:
    """A deployment as the gateway sees it: a name and the addresses of its processes.

    An address is what NGINX's ``server`` takes: ``unix:/path`` or ``host:port``.
    ``spares`` are asked when no server answers. ``replicas``: so many processes are behind the
    addresses.
    """

    deployment: str
    servers: tuple[str, ...]
    spares: tuple[str, ...] = ()
    replicas: int = 1


@dataclass(frozen=True)
class GatewayPlan:
    """Everything that is rendered into lab/. ``listen`` is an address with its port, ``stable``
    the deployment that has the requests which no route takes."""

    listen: str
    stable: str
    upstreams: tuple[Upstream, ...]
    rate_limit: RateLimit
    max_body: str
    timeout: float  # seconds that a generation may take
    max_text_chars: int = Service().max_text_chars
    connections: int = Gateway().connections  # requests under way of one address; 0 = no limit
    worker_user: str = ""  # "user group" of the workers, where the master is root
    ended: Mapping[str, int] = field(default_factory=dict)  # subject -> until when
    leeway: float = 5.0  # seconds that other clocks may be ahead
    demo_kid: str = ""  # the key whose tokens may lack exp; "" outside of demo mode
    load_modules: tuple[str, ...] = ()
    resolver: str = ""  # name server for upstreams that say `resolve`
    edition: Literal["open", "plus"] = "open"
    metrics: str = ""  # where the gateway's own metrics are; as `listen` takes it
    license: str = ""  # NGINX Plus: where the gateway finds its licence, an absolute path
    traffic: Traffic = field(default_factory=Traffic)

    def upstream(self, deployment: str) -> Upstream:
        return next(one for one in self.upstreams if one.deployment == deployment)
