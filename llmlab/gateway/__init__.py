"""The gateway: which nginx runs, what is rendered beside nginx.conf, how it is taken over."""

from llmlab.gateway.binary import Nginx, find_nginx
from llmlab.gateway.fitting import fitting
from llmlab.gateway.plan import ConsoleFront, GatewayPlan, TlsFront, Upstream, WafFront
from llmlab.gateway.releases import Releases
from llmlab.gateway.render import render

__all__ = [
    "ConsoleFront",
    "GatewayPlan",
    "Nginx",
    "Releases",
    "TlsFront",
    "Upstream",
    "WafFront",
    "find_nginx",
    "fitting",
    "render",
]
