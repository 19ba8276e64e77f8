"""Render the plan into the small files that nginx.conf includes from lab/. Pure."""

from __future__ import annotations

from importlib import resources

from llmlab.config import RateLimit
from llmlab.gateway.plan import GatewayPlan, Upstream

HEADER = "# Rendered by llmlab from configs/lab.toml; edits here are lost.\n"
# Seconds between the API's own time limit and the gateway's, so that the API answers first.
GRACE = 10
HEALTH_RATE = "20r/s"


def render(plan: GatewayPlan) -> dict[str, str]:
    """File name (relative to nginx.conf's folder) -> content."""
    files = {
        "lab/main.conf": _main(plan),
        "lab/http.conf": _http(plan),
        "lab/upstreams.conf": _upstreams(plan),
        "lab/server.conf": _server(plan),
        "lab/limit_address.conf": _limit_address(plan),
        "lab/limit_health.conf": _limit_health(plan),
        "lab/models.conf": _models(plan),
    }
    rendered = {name: HEADER + text for name, text in files.items()}
    script = resources.files("llmlab.gateway").joinpath("token.js")
    return rendered | {"lab/token.js": script.read_text(encoding="utf-8")}


def _main(plan: GatewayPlan) -> str:
    lines = [f"load_module {module};" for module in plan.load_modules]
    if plan.worker_user:
        lines.append(f"user {plan.worker_user};")
    return _joined(lines)


def _http(plan: GatewayPlan) -> str:
    limit = plan.rate_limit
    lines = [
        "js_import token from lab/token.js;",
        "js_set $token_ok token.ok;",
        f'map "" $lab_demo_kid {{ default "{plan.demo_kid}"; }}',
        f'map "" $stable_deployment {{ default {plan.stable}; }}',
        f'map "" $retry_after {{ default {limit.retry_after}; }}',
        "",
        "# An idle client connection outlives a reload by so much: none is cut mid-request.",
        "keepalive_min_timeout 5s;",
        "",
        f"limit_req_zone $binary_remote_addr zone=health:1m rate={HEALTH_RATE};",
    ]
    if limit.enabled:
        lines += [
            f"limit_req_zone $limit_subject zone=subject:10m rate={limit.rate};",
            f"limit_req_zone $binary_remote_addr zone=address:10m rate={limit.rate};",
        ]
    return _joined(lines)


def _upstreams(plan: GatewayPlan) -> str:
    named = [("llmapi", plan.upstream(plan.stable))]
    named += [(f"model_{one.deployment}", one) for one in plan.upstreams]
    resolver = [f"resolver {plan.resolver} valid=2s;\n"] if plan.resolver else []
    return "\n".join([*resolver, *(_upstream(name, one, plan) for name, one in named)])


def _upstream(name: str, upstream: Upstream, plan: GatewayPlan) -> str:
    # Addresses that are looked up again are kept where all workers see them.
    zone = f"    zone {name} 64k;\n" if plan.resolver else ""
    # max_fails=0: a restarted server is asked again at once, not after fail_timeout.
    fails = " max_fails=0" if upstream.spares else ""
    servers = "".join(f"    server {address}{fails};\n" for address in upstream.servers)
    servers += "".join(f"    server {address}{fails} backup;\n" for address in upstream.spares)
    return f"upstream {name} {{\n{zone}{servers}    keepalive 32;\n}}\n"


def _server(plan: GatewayPlan) -> str:
    limit = plan.rate_limit
    lines = [
        f"listen {plan.listen};",
        f"client_max_body_size {plan.max_body};",
        f"proxy_read_timeout {_milliseconds(plan.timeout + GRACE)};",
        f"proxy_send_timeout {_milliseconds(plan.timeout + GRACE)};",
        "",
        "# The token is judged before the rate limit, so that the limit can be per subject.",
        "auth_jwt_phase preaccess;",
        "auth_jwt_require $token_ok;",
        "# nginx.conf sets the challenge: this one would also stand on answers that are no 401.",
        "auth_jwt_www_authenticate off;",
        "limit_req_status 429;",
    ]
    if plan.demo_kid:
        lines += ["# Demo mode: the published token has no exp; token.js demands it of all others.",
                  "auth_jwt_validate_exp off;"]  # fmt: skip
    if limit.enabled:
        lines.append(f"limit_req zone=subject{_burst(limit)};")
    return _joined(lines)


def _limit_address(plan: GatewayPlan) -> str:
    limit = plan.rate_limit
    return f"limit_req zone=address{_burst(limit)};\n" if limit.enabled else ""


def _limit_health(plan: GatewayPlan) -> str:
    return "limit_req zone=health burst=40 nodelay;\n"


def _models(plan: GatewayPlan) -> str:
    return "\n".join(
        # Without the first, NGINX would answer it with a redirect, token or no token.
        f"location = /models/{one.deployment} {{\n{_to(one)}}}\n"
        f"location /models/{one.deployment}/ {{\n{_to(one)}}}\n"
        for one in plan.upstreams
    )


def _to(upstream: Upstream) -> str:
    name = upstream.deployment
    return f"    set $deployment {name};\n    proxy_pass http://model_{name}/;\n"


def _burst(limit: RateLimit) -> str:
    # NGINX knows no burst=0.
    return f" burst={limit.burst} nodelay" if limit.burst else ""


def _milliseconds(seconds: float) -> str:
    # NGINX takes no fractions.
    return f"{round(seconds * 1000)}ms"


def _joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
