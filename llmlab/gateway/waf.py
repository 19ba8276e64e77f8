"""The WAF at the gateway: whom lab/waf.js asks, what he is told, and what a refusal says.

Pure. Without a WAF nothing of this is in a request's way.
"""

from __future__ import annotations

from importlib import resources

from llmlab.errors import ConfigError
from llmlab.gateway.plan import GatewayPlan

SCRIPTS = ("waf.js", "admission.js")
VARIABLES = ("waf", "waf_kinds", "waf_refused", "waf_type")
# Seconds. It answers within milliseconds; who waits longer than this has none.
CONNECTS, ANSWERS = 1, 5
# What lets in whoever has it is not for a log of findings.
WITHHELD = ("Authorization", "Proxy-Authorization", "X-Authorization", "Cookie", "Api-Key",
            "X-Api-Key", "X-Goog-Api-Key", "X-Auth-Token")  # fmt: skip


def http(plan: GatewayPlan) -> list[str]:
    """What nginx.conf asks for, and where the WAF is."""
    if plan.waf is None:
        return nobodys()
    return [
        "js_import waf from lab/waf.js;",
        "js_import admission from lab/admission.js;",
        *(f'js_var $lab_{name} "";' for name in VARIABLES),
        f'map "" $lab_waf_mode {{ default {plan.waf.mode}; }}',
        "upstream lab_waf {",
        f"    server {plan.waf.address} max_fails=0;",
        "    keepalive 16;",
        "}",
    ]


def nobodys() -> list[str]:
    """The same variables where there is none."""
    names = ("waf", "waf_kinds", "waf_refused", "waf_mode")
    return [f'map "" $lab_{name} {{ default ""; }}' for name in names]


def location(plan: GatewayPlan) -> list[str]:
    """Where lab/waf.js asks: with the request as the client has sent it, but for what lets it in,
    and for its body."""
    if plan.waf is None:
        return []
    lines = [
        "internal;",
        "auth_jwt off;                       # it was judged",
        "error_page 410 /.problem;           # none of the server's: the script sees what is wrong",
        "proxy_http_version 1.1;",
        f"proxy_connect_timeout {CONNECTS}s;",
        f"proxy_send_timeout {ANSWERS}s;",
        f"proxy_read_timeout {ANSWERS}s;",
        "proxy_next_upstream error;",
        "proxy_intercept_errors off;",
        'proxy_set_header Connection "";',
        'proxy_set_header Expect "";',
        "proxy_set_header Host $lab_host;",
        "proxy_set_header X-Request-ID $lab_request_id;",
        "proxy_set_header Content-Type $lab_waf_type;",
        "proxy_set_header X-Content-Type $content_type;",
        *(f'proxy_set_header {name} "";' for name in WITHHELD),
        "proxy_pass http://lab_waf$request_uri;",
    ]
    return ["location = /.waf {", *(f"    {line}" for line in lines), "}"]


def files(plan: GatewayPlan) -> dict[str, str]:
    if plan.waf is None:
        return {}
    scripts = resources.files("llmlab.gateway")
    return {f"lab/{one}": scripts.joinpath(one).read_text(encoding="utf-8") for one in SCRIPTS}


def refuse(plan: GatewayPlan) -> None:
    """Raises ConfigError: this edition has no WAF."""
    if plan.waf:
        raise ConfigError(
            "gateway.waf: NGINX Plus is run without njs here, by which the gateway asks its WAF",
            fix='gateway.edition = "open" in configs/lab.toml, or gateway.waf.enabled = false',
        )
