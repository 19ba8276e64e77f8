"""The edition for NGINX Plus, with nothing but directives that Plus itself documents.

What it does otherwise than the open edition, and why:

- Plus checks a token's signature, ``exp`` and ``nbf`` by itself; a token without ``exp`` it
  would take, so that is asked for here.
- Plus reads claims as soon as somebody asks for them, before the token is judged, and judges
  it after limit_req. A forged token could then use up another subject's limit, and name a
  subject where none is asked for a token. So a request goes on to a location of its own once
  its token was found valid: only there it has a subject, and a limit for it.
- A ``sub`` that is no string, an ``iat`` that is no number, another claim that is a list, and a
  ``crit`` that is an empty list or string are not told from an ordinary one: that takes njs,
  which the base image does not have. Only the holder of one of the lab's keys can sign such a
  token; one whose ``iat`` is a text of later digits outlives the end of its subject's tokens.
- Budgets, and what is used of a model, are counted by njs, and a WAF is asked by it: budgets and
  the WAF are refused here.
- A stream that broke off after its 200 is no error in the log: to look into it takes njs as well.
  Nor does the log say how a stream came and ended, only whole answers, whose head tells it.
- The leeway for other clocks counts for ``exp`` as well as for ``nbf``; here only for the latter.
- Plus sets the challenge of a 401 by itself, and cannot be told not to.

https://nginx.org/en/docs/http/ngx_http_auth_jwt_module.html
https://nginx.org/en/docs/http/ngx_http_internal_redirect_module.html, on the order of phases
"""

from __future__ import annotations

from llmlab.gateway import api_keys, budgets, console, scopes, tls, waf
from llmlab.gateway.claims import as_sent, claim_variable
from llmlab.gateway.directives import joined, limit_req, to_deployment
from llmlab.gateway.openai import unnamed
from llmlab.gateway.plan import GatewayPlan
from llmlab.gateway.shadow import mirror

# internal_redirect would do as well; this one can be tested without a licence.
GO_ON = "try_files /nonexistent @{};"
VERIFIED = "set $lab_verified 1;"


def main(plan: GatewayPlan) -> list[str]:
    return [f'mgmt {{ license_token "{plan.license}"; }}']


def http(plan: GatewayPlan) -> list[str]:
    api_keys.refuse_without_njs(plan.api_keys)
    demo = f'"{plan.demo_kid}" 1; ' if plan.demo_kid else ""
    return [
        "# A token without exp would live for ever: only the published one of the demo mode may.",
        f"map $jwt_header_kid $token_may_last {{ {demo}default 0; }}",
        'map $jwt_claim_exp $token_sound { "" $token_may_last; default 1; }',
        'map "$token_sound$token_not_ended$token_own" $token_ok { 111 1; default 0; }',
        "# Claims can be read before the token is judged; a subject is who was found to be one.",
        'map "" $lab_sub { default $jwt_claim_sub; }',
        'map $lab_verified $lab_subject { 1 $lab_sub; default ""; }',
        'map "" $lab_unknown_key { default ""; }',
        'map "" $lab_broken { default 0; }',
        *scopes.claimed(),
        *api_keys.by_token_only(tls.client_tokens(plan)),
        *budgets.nobodys(),
        *waf.nobodys(),
        "# A challenge that NGINX Plus has set by itself is not set twice.",
        "map $sent_http_www_authenticate $lab_challenge {",
        """    ""      'Bearer realm="LLM API"';""",
        '    default "";',
        "}",
    ]


def server(plan: GatewayPlan) -> list[str]:
    return [
        'set $lab_verified "";',
        "# Of nbf, as in the open edition; Plus grants it to exp as well.",
        f"auth_jwt_leeway {plan.leeway:g}s;",
    ]


def stable(plan: GatewayPlan) -> list[str]:
    return ["# First the token, then the rest: see @routed.", GO_ON.format("routed")]


def openai(plan: GatewayPlan) -> list[str]:
    """Without njs nobody reads the body here: every request goes by the route chat, whose API says
    so of one that names another model. X-Model and /models/NAME/v1 lead to any deployment."""
    return [f"set $asked {unnamed(plan)};", GO_ON.format("routed")]


def streams() -> list[str]:
    """Without njs nobody looks into one: what broke off is told by the API's metrics alone."""
    return []


def budgeted(plan: GatewayPlan) -> list[str]:
    """
    Raises:
        ConfigError: there are budgets, or a WAF, which take njs.
    """
    budgets.refuse(plan)
    waf.refuse(plan)
    return []


def claims(names: list[str]) -> list[str]:
    lines = []
    for name in names:
        sent, defined = as_sent(name)
        lines += [*defined, f'map $lab_verified {claim_variable(name)} {{ 1 {sent}; default ""; }}']
    return lines


def models(plan: GatewayPlan) -> str:
    limit = limit_req("subject", plan.rate_limit)
    routed = [VERIFIED, *limit, *mirror(plan.traffic),
              "proxy_pass http://model_$lab_target$lab_uri;"]  # fmt: skip
    blocks = [_location("@routed", routed)]
    for name in (one.deployment for one in plan.upstreams):
        # The scope of a token is judged here as well, by what is asked for.
        here = [f"set $deployment {name};", "set $route model;", GO_ON.format(f"model_{name}")]
        # Without the first, NGINX would answer it with a redirect, token or no token.
        blocks.append(_location(f"= /models/{name}", here))
        blocks.append(_location(f"/models/{name}/", here))
        rest = [VERIFIED, *limit, *to_deployment(name)]
        blocks.append(_location(f"@model_{name}", rest))
    if plan.console:
        blocks.append(_location("@console", [VERIFIED, *console.pages(plan)]))
    return "\n".join(blocks)


def people(plan: GatewayPlan) -> list[str]:
    return console.judged(GO_ON.format("console")) if plan.console else console.OFF


def _location(what: str, lines: list[str]) -> str:
    return joined([f"location {what} {{", *(f"    {line}" for line in lines), "}"])


def files() -> dict[str, str]:
    return {}
