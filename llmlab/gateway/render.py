"""Render the plan into the small files that nginx.conf includes from lab/. Pure."""

from __future__ import annotations

from typing import Protocol

from llmlab.config import Gateway, Service
from llmlab.gateway import (
    budgets,
    console,
    issuers,
    metrics,
    open_edition,
    openai,
    plus_edition,
    scopes,
    tls,
    waf,
)
from llmlab.gateway.directives import joined, limit_req
from llmlab.gateway.ended import ended
from llmlab.gateway.plan import GatewayPlan
from llmlab.gateway.quoting import by_map, in_words
from llmlab.gateway.routes import as_source, routes
from llmlab.gateway.shadow import shadow
from llmlab.gateway.upstreams import upstreams

HEADER = "# Rendered by llmlab; edits here are lost.\n"
# Seconds between the API's own time limit and the gateway's, so that the API answers first.
GRACE = 10
LINGER = 5  # seconds that an idle connection of a client outlives a reload
HEALTH_RATE = "20r/s"
FALLBACK = "@fallback_"  # and a deployment: a location that an API may name in X-Accel-Redirect
# What every answer of an API says; a location with a header of its own inherits none.
ANSWERS = [
    "add_header X-Request-ID  $lab_request_id always;",
    "add_header X-Deployment  $lab_log_deployment always;",
    "include lab/cors_headers.conf;",
    "include lab/budget_headers.conf;",
]


class Edition(Protocol):
    """What differs between the editions of NGINX: a module with these functions."""

    def main(self, plan: GatewayPlan) -> list[str]: ...
    def http(self, plan: GatewayPlan) -> list[str]: ...
    def server(self, plan: GatewayPlan) -> list[str]: ...
    def stable(self, plan: GatewayPlan) -> list[str]: ...
    def openai(self, plan: GatewayPlan) -> list[str]: ...
    def streams(self) -> list[str]: ...
    def budgeted(self, plan: GatewayPlan) -> list[str]: ...
    def claims(self, names: list[str]) -> list[str]: ...
    def models(self, plan: GatewayPlan) -> str: ...
    def people(self, plan: GatewayPlan) -> list[str]: ...
    def files(self) -> dict[str, str]: ...


EDITIONS: dict[str, Edition] = {"open": open_edition, "plus": plus_edition}


def render(plan: GatewayPlan) -> dict[str, str]:
    """File name (relative to nginx.conf's folder) -> content."""
    edition = EDITIONS[plan.edition]
    files = {
        "lab/main.conf": joined([*edition.main(plan), *_user(plan)]),
        "lab/error_log.conf": f"error_log {_log(plan, 'gateway.error.log') or 'stderr'} warn;\n",
        "lab/access_log.conf": _access_log(plan),
        "lab/http.conf": joined(
            [
                *ended(plan.ended),
                *scopes.scopes(plan.default_scopes),
                *edition.http(plan),
                *console.http(plan),
                *_http(plan),
            ]
        ),
        "lab/routes.conf": joined(routes(plan, edition.claims)),
        "lab/upstreams.conf": upstreams(plan),
        "lab/server.conf": joined([*_server(plan), *scopes.judged(), *edition.server(plan)]),
        "lab/operators.conf": joined(scopes.operators(metrics.page(plan))),
        "lab/stable.conf": joined(edition.stable(plan)),
        "lab/openai.conf": joined(edition.openai(plan)),
        "lab/streams.conf": joined(edition.streams()),
        "lab/budgets.conf": joined(edition.budgeted(plan)),
        "lab/budget_headers.conf": joined(budgets.headers(plan)),
        "lab/settlements.conf": joined(_settlements(plan)),
        "lab/cors.conf": joined([*openai.cors_server(plan.cors_origins), *tls.answers(plan)]),
        "lab/cors_headers.conf": joined(
            [*openai.cors_headers(plan.cors_origins), *tls.answers(plan)]
        ),
        "lab/limit_address.conf": joined(limit_req("address", plan.rate_limit)),
        "lab/limit_health.conf": "limit_req zone=health burst=40 nodelay;\n",
        "lab/models.conf": edition.models(plan) + _fallbacks(plan) + joined(waf.location(plan)),
        "lab/shadow.conf": joined(shadow(plan.traffic)),
        "lab/console.conf": joined(edition.people(plan)),
        "lab/console_open.conf": joined(console.shown(plan)),
    }
    own = metrics.files(plan)
    files["lab/metrics.conf"] = own.pop("lab/metrics.conf")
    own |= issuers.files(plan) | tls.files(plan)
    if plan.edition == "open":
        own |= budgets.files(plan) | waf.files(plan)
    rendered = {name: HEADER + text for name, text in files.items()}
    return rendered | edition.files() | own


def _settlements(plan: GatewayPlan) -> list[str]:
    return budgets.settlements(plan) if plan.edition == "open" else []


def _log(plan: GatewayPlan, name: str) -> str:
    return f"{plan.logs}/{name}" if plan.logs else ""


def _access_log(plan: GatewayPlan) -> str:
    where = _log(plan, "gateway.log") or "/dev/stdout"
    return joined([
        "# The lab's own questions come by a socket of its own.",
        'map $remote_addr $lab_line { "unix:" 0; default $worth_a_line; }',
        f"access_log {where} lab if=$lab_line;",
    ])  # fmt: skip


def _fallbacks(plan: GatewayPlan) -> str:
    """A location for each deployment that answers in another one's place."""
    return "".join(
        f"location {FALLBACK}{name} {{\n"
        + joined([
            "    auth_jwt off;                       # it was judged",
            f"    set $deployment {name};",
            "    set $route fallback;",
            "    set $lab_used_before $upstream_http_x_usage;",
            *(f"    {line}" for line in ANSWERS),
            f"    add_header X-Fallback {name} always;",
            "    proxy_buffering off;",
            f"    proxy_pass http://model_{name}$lab_uri;",
        ]) + "}\n"
        for name in sorted({one.fallback for one in plan.upstreams if one.fallback})
    )  # fmt: skip


def _user(plan: GatewayPlan) -> list[str]:
    return [f"user {plan.worker_user};"] if plan.worker_user else []


def _http(plan: GatewayPlan) -> list[str]:
    limit = plan.rate_limit
    lines = [
        f'map "" $stable_deployment {{ default {plan.stable}; }}',
        f'map "" $retry_after {{ default {limit.retry_after}; }}',
        f'map "" $lab_too_large {{ default "{_too_large(plan)}"; }}',
        f"map \"\" $rate_policy {{ default '{limit.policy}'; }}",
        *in_words("$lab_names", " ".join(openai.names(plan)), by_map),
        f'map "" $lab_unnamed {{ default {openai.unnamed(plan)}; }}',
        *openai.listed(plan),
        *openai.cors_maps(plan.cors_origins, budgets.exposed(plan)),
        "# A provider elsewhere may take money: what one may have received is asked once.",
        "map $lab_target $lab_asked_once {",
        *(f"    {one.deployment} 1;" for one in plan.upstreams if one.elsewhere),
        "    default 0;",
        "}",
        "# Deployments that have no process until somebody wakes them.",
        "map $lab_target $lab_rests {",
        *(f"    {as_source(one.deployment)} 1;" for one in plan.upstreams if not one.replicas),
        "    default 0;",
        "}",
        "# Where an API may hand a request on to; not one that asks for a deployment by its name.",
        'map "$route$lab_wish:$lab_target" $lab_fallback_to {',
        "    volatile;                           # handed on once, a request is not again",
        *(
            f'    ":{one.deployment}" {FALLBACK}{one.fallback};'
            for one in plan.upstreams
            if one.fallback
        ),
        '    default "";',
        "}",
        "",
        "# An idle client connection outlives a reload by so much: none is cut mid-request.",
        f"keepalive_min_timeout {LINGER}s;",
        "# A text is not written to disk, unless it comes in chunks that are larger than this with",
        "# what frames them: NGINX counts both.",
        f"client_body_buffer_size {plan.max_body};",
        "",
        "# The lab's own questions come by a socket of its own, and count for nobody.",
        'map $remote_addr $limit_address { "unix:" ""; default $binary_remote_addr; }',
        f"limit_req_zone $limit_address zone=health:1m rate={HEALTH_RATE};",
    ]
    if plan.connections:
        lines.append("limit_conn_zone $limit_address zone=connections:1m;")
    if limit.enabled:
        lines += [
            f"limit_req_zone $limit_subject zone=subject:10m rate={limit.rate};",
            f"limit_req_zone $limit_address zone=address:10m rate={limit.rate};",
        ]
    return lines + tls.http(plan)


def _too_large(plan: GatewayPlan) -> str:
    """Which limit is in the way of a body that the gateway does not take."""
    said = f"The request body is larger than {plan.max_body} (gateway.max_body)"
    longest = Service(max_text_chars=plan.max_text_chars).max_body
    text = f"{plan.max_text_chars} characters (service.max_text_chars)"
    if Gateway(max_body=plan.max_body).max_body_bytes >= longest:
        return f"{said}, so its text has more than {text}. Send less, or raise both in lab.toml."
    return (
        f"{said}. Send less, or raise that in lab.toml: "
        f"a text of {text} may take {-(-longest // 1024)}k."
    )


def _server(plan: GatewayPlan) -> list[str]:
    return [
        *tls.listens(plan),
        *tls.server(plan),
        f"client_max_body_size {plan.max_body};",
        f"proxy_read_timeout {_milliseconds(plan.timeout + GRACE)};",
        f"proxy_send_timeout {_milliseconds(plan.timeout + GRACE)};",
        "limit_req_status 429;",
        *([f"limit_conn connections {plan.connections};"] if plan.connections else []),
        "limit_conn_status 429;",
        "",
    ]


def _milliseconds(seconds: float) -> str:
    # NGINX takes no fractions.
    return f"{round(seconds * 1000)}ms"
