"""What makes the gateway speak TLS, and nothing else, at its address. Pure.

It stands beside ``listen`` and not in nginx.conf, so that an nginx.conf of one's own, or of an
earlier llmlab, cannot make it weaker by leaving it out.
"""

from __future__ import annotations

from collections.abc import Mapping

from llmlab.gateway.plan import GatewayPlan, TlsFront

CERTIFICATE, KEY, CLIENT_CA = "lab/tls.pem", "lab/tls.key", "lab/client-ca.pem"
# Mozilla's guideline 6.0, "intermediate": https://ssl-config.mozilla.org/guidelines/6.0.json.
# Its curves are what OpenSSL chooses by itself ("auto"): by name, one that knows no X25519MLKEM768
# yet would not start. Of its cache, sessions are found again after a reload.
INTERMEDIATE = (
    "ssl_protocols TLSv1.2 TLSv1.3;",
    "ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305;",
    "ssl_ecdh_curve auto;",
    "ssl_prefer_server_ciphers off;",
    "ssl_session_timeout 1d;",
    "ssl_session_cache shared:llmlab:10m;",
)
# What tells who asks.
SECRETS = "$http_authorization$http_x_api_key$http_api_key$http_cookie"
PLAIN = (
    "This port speaks plain HTTP, and what was sent could be read on the way: ask by https, and "
    "have a token that was sent ended (llmlab token revoke)."
)
PROBLEM = (
    f'{{"type":"about:blank","title":"Bad Request","status":400,"detail":"{PLAIN}",'
    f'"message":"{PLAIN}","request_id":"$lab_request_id"}}'
)
# Requests that one connection may have under way; each counts for limit_conn, as others do.
STREAMS = 64


def listens(plan: GatewayPlan) -> list[str]:
    """The lines of ``listen``."""
    end = " ssl" if plan.tls else ""
    outside = (f"listen {one}{end};" for one in (plan.listen, *plan.also))
    return [*outside, *(f"listen {one};" for one in plan.inside)]


def client_tokens(plan: GatewayPlan) -> Mapping[str, str]:
    """{subject of a client's certificate: the token that it stands for}."""
    return plan.tls.client_tokens if plan.tls else {}


def server(plan: GatewayPlan) -> list[str]:
    """For the server behind these."""
    tls = plan.tls
    if tls is None:
        return []
    lines = [
        f"ssl_certificate {CERTIFICATE};",
        f"ssl_certificate_key {KEY};",
        "# Mozilla's intermediate settings, version 6.0 of the guideline.",
        *INTERMEDIATE,
        "http2 on;",
        f"http2_max_concurrent_streams {STREAMS};",
    ]
    if tls.client_ca:
        asked = "on" if tls.client == "required" else "optional"
        lines += [f"ssl_client_certificate {CLIENT_CA};", f"ssl_verify_client {asked};",
                  "ssl_verify_depth 3;"]  # fmt: skip
    return lines


def http(plan: GatewayPlan) -> list[str]:
    """Where a plain request is led, and the server that has nothing but such ones."""
    tls = plan.tls
    if tls is None:
        return ['map "" $lab_to_https { default ""; }']
    return [
        "# Where a plain request is led: only one that has sent no token and no body for all to",
        "# read. The method of an error page is another one.",
        f'map "" $lab_https_port {{ default ":{tls.port}"; }}',
        "map $http_host $lab_https_host {",
        r'    "~^(?<lab_named>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?\z" $lab_named;',
        '    default "";',
        "}",
        f'map "$lab_https_host {SECRETS} $request" $lab_to_https {{',
        r'    "~^\S+  (?:GET|HEAD) (?<lab_asked>/\S*) HTTP" '
        "https://$lab_https_host$lab_https_port$lab_asked;",
        '    default "";',
        "}",
        *([f'map $https $lab_hsts {{ on "max-age={tls.hsts}"; default ""; }}'] if tls.hsts else []),
        *_redirecting(tls),
    ]


def _redirecting(tls: TlsFront) -> list[str]:
    if not tls.redirect:
        return []
    return [
        "server {                                # plain HTTP, which leads to the other port",
        *(f"    listen {one};" for one in tls.redirect),
        "    access_log off;",
        "    client_max_body_size 0;             # nobody reads one",
        "    limit_req_status 429;",
        "    location / {",
        "        include lab/limit_health.conf;",
        "        try_files /nonexistent @plain;",
        "    }",
        "    location @plain {",
        "        add_header Cache-Control no-store always;",
        "        add_header X-Request-ID $lab_request_id always;",
        "        if ($lab_to_https) {",
        "            return 308 $lab_to_https;",
        "        }",
        "        default_type application/problem+json;",
        f"        return 400 '{PROBLEM}\\n';",
        "    }",
        "}",
    ]


def answers(plan: GatewayPlan) -> list[str]:
    """The header that stands on every answer to HTTPS. Browsers pass over it elsewhere."""
    if plan.tls is None or not plan.tls.hsts:
        return []
    return ["add_header Strict-Transport-Security $lab_hsts always;"]


def files(plan: GatewayPlan) -> dict[str, str]:
    tls = plan.tls
    if tls is None:
        return {}
    found = {CERTIFICATE: tls.certificate, KEY: tls.key}
    return found | ({CLIENT_CA: tls.client_ca} if tls.client_ca else {})
