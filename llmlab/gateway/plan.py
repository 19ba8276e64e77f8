"""What the gateway should do, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from llmlab.config import Gateway, Model, RateLimit, Service
from llmlab.config.budgets import Budget
from llmlab.issuers.trust import Trust
from llmlab.names import SUMMARIZE
from llmlab.traffic import Traffic


@dataclass(frozen=True)
class Upstream:
    """A deployment as the gateway sees it: a name and the addresses of its processes.

    An address is what NGINX's ``server`` takes: ``unix:/path`` or ``host:port``, and ``host:port
    resolve`` where a name has the addresses of several processes, which change.
    ``spares`` are asked when no server answers. ``replicas``: so many processes are behind the
    addresses; 0 for one that rests, at whose address nobody listens. ``elsewhere``: they ask a
    provider, who may take money for each time. ``fallback``: the deployment that answers for it
    while that provider does not. ``model``: what it may write, and what that costs; None where
    nobody knows.
    """

    deployment: str
    servers: tuple[str, ...]
    spares: tuple[str, ...] = ()
    replicas: int = 1
    elsewhere: bool = False
    fallback: str = ""
    model: Model | None = None


@dataclass(frozen=True)
class TlsFront:
    """With what the gateway speaks TLS: PEM texts, of which ``client_ca`` is "" where clients are
    asked for no certificate.

    ``port``: where clients ask, which is another one than a container's own. ``redirect``: further
    addresses, of plain HTTP, from which they are led there. ``hsts`` in seconds; 0 = none.
    """

    certificate: str
    key: str = field(repr=False)
    port: int
    client_ca: str = ""
    client: Literal["required", "optional"] = "required"
    # Subject of a client's certificate -> the token that it stands for
    client_tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    hsts: int = 0
    redirect: tuple[str, ...] = ()


@dataclass(frozen=True)
class WafFront:
    """A WAF that is asked about requests. ``address``: as NGINX's ``server`` takes it. ``mode``:
    detect, which only notes what it finds, or block."""

    address: str
    mode: Literal["detect", "block"]


@dataclass(frozen=True)
class ConsoleFront:
    """Pages for people. ``address``: as NGINX's ``server`` takes it. ``cookie``: the name of the
    one that may carry a token there. ``secret``: what the gateway proves itself by there; letters,
    digits, ``-`` and ``_``."""

    address: str
    cookie: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class GatewayPlan:
    """Everything that is rendered into lab/. ``listen`` is an address with its port, and what
    NGINX takes behind it; ``also`` are further ones of the same server, and ``inside`` those that
    only the lab itself reaches, such as the socket where it asks without a limit: they speak no
    TLS, whatever the others do. ``stable`` is the deployment that has the requests to
    summarize which no rule takes, and ``further`` says that of all other routes.

    ``logs`` is a folder, relative to NGINX's prefix: NGINX opens its logs itself. Without one it
    prints them, for whoever runs its container.

    ``counts`` is a folder, likewise, where what budgets have counted outlives a restart.
    ``longest`` are the seconds of the longest answer. ``settlements`` is where an API says what it
    has used, as ``listen`` takes it.

    ``linked``: the processes are on other machines, behind links; see ``links.away``.

    ``resolver`` is the name server that is asked for upstreams with ``resolve`` behind their
    address, again and again; as NGINX's ``resolver`` takes it."""

    listen: str
    stable: str
    upstreams: tuple[Upstream, ...]
    rate_limit: RateLimit
    max_body: str
    timeout: float  # seconds that a generation may take
    max_text_chars: int = Service().max_text_chars
    connections: int = Gateway().connections  # requests under way of one address; 0 = no limit
    cors_origins: tuple[str, ...] = ()  # of pages that may ask from a browser
    worker_user: str = ""  # "user group" of the workers, where the master is root
    ended: Mapping[str, int] = field(default_factory=dict)  # subject -> until when
    # SHA-256 of an API key -> the token that it stands for
    api_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    default_scopes: tuple[str, ...] = ("*",)  # of a token that names none of the lab's
    trust: Trust = field(default_factory=Trust)  # whose tokens are valid, by which keys
    leeway: float = 5.0  # seconds that other clocks may be ahead
    demo_kid: str = ""  # the key whose tokens may lack exp; "" outside of demo mode
    load_modules: tuple[str, ...] = ()
    edition: Literal["open", "plus"] = "open"
    also: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    tls: TlsFront | None = None
    logs: str = ""
    metrics: str = ""  # where the gateway's own metrics are; as `listen` takes it
    scraped_at: str = ""  # HOST:PORT of it, for Prometheus, which finds the APIs' metrics there
    license: str = ""  # NGINX Plus: where the gateway finds its licence, an absolute path
    traffic: Traffic = field(default_factory=Traffic)
    further: Mapping[str, str] = field(default_factory=dict)
    budgets: tuple[Budget, ...] = ()
    counts: str = ""
    longest: float = Service().stream_timeout
    settlements: str = ""
    linked: bool = False
    resolver: str = ""
    waf: WafFront | None = None
    console: ConsoleFront | None = None

    @property
    def routes(self) -> dict[str, str]:
        """{route: its stable deployment}."""
        return {SUMMARIZE: self.stable, **self.further}

    def upstream(self, deployment: str) -> Upstream:
        return next(one for one in self.upstreams if one.deployment == deployment)
