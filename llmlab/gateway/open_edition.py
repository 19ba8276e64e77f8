"""The edition without a licence: nginx with the open auth_jwt module and njs.

Everything here that NGINX Plus does not have must stay out of nginx.conf.
"""

from __future__ import annotations

from importlib import resources

from llmlab.gateway import api_keys, budgets, console, issuers, tls, waf
from llmlab.gateway.claims import as_sent, claim_variable
from llmlab.gateway.directives import joined, limit_req, to_deployment
from llmlab.gateway.plan import GatewayPlan, Upstream
from llmlab.gateway.quoting import somewhere
from llmlab.gateway.shadow import mirror


def main(plan: GatewayPlan) -> list[str]:
    return [f"load_module {module};" for module in plan.load_modules]


def http(plan: GatewayPlan) -> list[str]:
    return [
        "js_import token from lab/token.js;",
        "js_import openai from lab/openai.js;",
        "js_import streams from lab/streams.js;",
        "js_var $lab_broken 0;",
        *api_keys.credentials(plan.api_keys, tls.client_tokens(plan)),
        *issuers.subject(plan.trust),
        'map "$token_sound$token_not_ended$token_own" $token_ok { 111 1; default 0; }',
        f'map "" $lab_leeway {{ default "{plan.leeway:g}"; }}',
        f'map "" $lab_demo_kid {{ default "{plan.demo_kid}"; }}',
        "# There are claims only once a token was found valid.",
        'map "" $lab_subject { default $lab_sub; }',
        *budgets.http(plan),
        *waf.http(plan),
        "# RFC 6750: what is wrong with a token is said only to those who sent one.",
        "map $http_authorization $lab_challenge {",
        """    "~*^Bearer +[^ ]" 'Bearer realm="LLM API", error="invalid_token"';""",
        """    default          'Bearer realm="LLM API"';""",
        "}",
    ]


def server(plan: GatewayPlan) -> list[str]:
    lines = [
        "# The token is judged before the rate limit, so that the limit can be per subject.",
        "auth_jwt_phase preaccess;",
        "# nginx.conf sets the challenge: this one would also stand on answers that are no 401.",
        "auth_jwt_www_authenticate off;",
    ]
    if plan.demo_kid:
        lines += ["# Demo mode: the published token has no exp; token.js demands it of all others.",
                  "auth_jwt_validate_exp off;"]  # fmt: skip
    return lines + limit_req("subject", plan.rate_limit)


def stable(plan: GatewayPlan) -> list[str]:
    """The limit of the server holds; there is only the shadow to be served."""
    return mirror(plan.traffic)


def openai(plan: GatewayPlan) -> list[str]:
    """The script reads the body, and goes on to @openai."""
    return ["js_content openai.choose;"]


def streams() -> list[str]:
    """A script sees whether one ends with an error."""
    return ["js_body_filter streams.watch buffer_type=buffer;"]


def claims(names: list[str]) -> list[str]:
    """As a variable a list would read "a,b": somebody's value. So the script says which claims
    are plain values."""
    lines = ["# Claims that are plain values, as ,NAME,NAME,", "js_set $token_values token.values;"]
    for name in names:
        sent, defined = as_sent(name)
        listed = somewhere(f",{name},")
        lines += [
            *defined,
            f'map $token_values {claim_variable(name)} {{ {listed} {sent}; default ""; }}',
        ]
    return lines


def models(plan: GatewayPlan) -> str:
    return "\n".join(
        # Without the first, NGINX would answer it with a redirect, token or no token.
        f"location = /models/{one.deployment} {{\n{_to(one)}}}\n"
        f"location /models/{one.deployment}/ {{\n{_to(one)}}}\n"
        for one in plan.upstreams
    )


def _to(upstream: Upstream) -> str:
    name = upstream.deployment
    return joined(
        [
            f"    set $deployment {name};",
            "    set $route model;",
            "    include lab/budgets.conf;",
            *(f"    {line}" for line in to_deployment(name)),
        ]
    )


def people(plan: GatewayPlan) -> list[str]:
    """The token is judged before the limit here as well."""
    return console.pages(plan)


def budgeted(plan: GatewayPlan) -> list[str]:
    """Of locations that ask a model: what that may take has to fit."""
    return budgets.admission(plan)


def files() -> dict[str, str]:
    scripts = resources.files("llmlab.gateway")
    return {
        f"lab/{name}": scripts.joinpath(name).read_text(encoding="utf-8")
        for name in ("token.js", "whose.js", "openai.js", "streams.js")
    } | api_keys.script()
