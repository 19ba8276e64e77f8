"""OpenAI's dialect at the gateway: which names there are, and who may ask from a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from llmlab.gateway.plan import GatewayPlan
from llmlab.gateway.quoting import by_map, exactly, in_words
from llmlab.names import CHAT, SUMMARIZE

OWNER = "llmlab"
# Seconds for which a browser need not ask again whether it may: https://fetch.spec.whatwg.org
MAY_ASK = 600


def names(plan: GatewayPlan) -> list[str]:
    """What `model` may say: the routes, then the deployments that are called otherwise."""
    return list(dict.fromkeys([*plan.routes, *(one.deployment for one in plan.upstreams)]))


def unnamed(plan: GatewayPlan) -> str:
    """The route of a request that names no model."""
    return CHAT if CHAT in plan.routes else SUMMARIZE


def listed(plan: GatewayPlan) -> Iterator[str]:
    """$lab_listed, what /v1/models says; and $lab_listed_one, of the name at the end of its
    address, "" for none. A name holds nothing that JSON or NGINX would have to escape."""
    found = {name: _model(name) for name in names(plan)}
    every = json.dumps({"object": "list", "data": list(found.values())})
    yield from in_words("$lab_listed", every, by_map)
    yield "map $uri $lab_listed_one {"
    yield '    default "";'
    yield from (
        f"    \"~^(?:/openai)?/v1/models/{name}\\z\" '{json.dumps(model)}';"
        for name, model in found.items()
    )
    yield "}"


def _model(name: str) -> dict[str, object]:
    # When a name was made means nothing here, and a client wants a number.
    return {"id": name, "object": "model", "created": 0, "owned_by": OWNER}


def cors(origins: Sequence[str]) -> list[str]:
    """Of http: $lab_origin, the origin of a page that may ask; $lab_preflight, 1 for a browser
    that asks first whether it may."""
    return [
        "# Pages of these origins may ask (gateway.cors_origins).",
        "map $http_origin $lab_origin {",
        '    default "";',
        *(f"    {exactly(one)} $http_origin;" for one in origins),
        "}",
        'map "$request_method $lab_origin $http_access_control_request_method" $lab_preflight {',
        "    default 0;",
        '    "~^OPTIONS [^ ]+ [^ ]" 1;',
        "}",
    ]


def cors_headers(origins: Sequence[str]) -> list[str]:
    """What every answer to such a page says."""
    if not origins:
        return []
    told = {
        "Access-Control-Allow-Origin": "$lab_origin",
        "Access-Control-Expose-Headers": "$lab_exposed",
        "Vary": "Origin",
    }
    return [f"add_header {name} {value} always;" for name, value in told.items()]


def cors_server(origins: Sequence[str]) -> list[str]:
    """Of the server: a browser that asks first has no token yet, and gets no further."""
    if not origins:
        return []
    return [
        *cors_headers(origins),
        "add_header Access-Control-Allow-Methods $lab_methods always;",
        "add_header Access-Control-Allow-Headers $lab_allowed always;",
        "add_header Access-Control-Max-Age $lab_may_ask always;",
        "if ($lab_preflight) {",
        "    return 204;",
        "}",
    ]


def cors_maps(origins: Sequence[str], further: Sequence[str] = ()) -> list[str]:
    """Values that are empty, and so headers that are left out, for anybody else.

    Args:
        further: headers that such a page may read beside the usual ones.
    """
    if not origins:
        return []
    usual = ["X-Request-ID", "X-Deployment", "X-Model", "X-Recorded", "Retry-After",
             "RateLimit-Policy"]  # fmt: skip
    exposed = ", ".join([*usual, *further])
    asked = "$http_access_control_request_headers"
    return [
        *cors(origins),
        f'map $lab_origin $lab_exposed {{ "" ""; default "{exposed}"; }}',
        'map $lab_preflight $lab_methods { 1 "GET, POST"; default ""; }',
        f'map $lab_preflight $lab_allowed {{ 1 {asked}; default ""; }}',
        f'map $lab_preflight $lab_may_ask {{ 1 {MAY_ASK}; default ""; }}',
    ]
