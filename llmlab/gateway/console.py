"""The console at the gateway: who may ask for its pages, how often, and what it is told of them.

Pure. nginx.conf has its addresses. A browser keeps its token in a cookie, which is one at these
addresses and nowhere else: a page of another site could have a browser send it along.
"""

from __future__ import annotations

from llmlab.gateway import tls
from llmlab.gateway.plan import ConsoleFront, GatewayPlan

COOKIE = "llmlab_console_"  # and the gateway's port: a browser has one jar for a whole machine
PROOF = "X-Gateway"  # of each request: who else gets at the console's socket cannot say it
ROUTE = "console"  # what $route says below /console/
# A page comes with its files, and others may have it open beside: nobody is to meet this.
RATE, BURST = "20r/s", 60
# Many people may be behind one address. A page's files are no way in, and are asked for with each.
FILES_RATE, FILES_BURST = "200r/s", 400
GUESS_RATE, GUESS_BURST = "2r/s", 10  # of an address, of tokens that are none
MAX_BODY = "1m"
SHOWN = {
    "file": (FILES_RATE, FILES_BURST), "guess": (GUESS_RATE, GUESS_BURST), "way_in": (RATE, BURST),
}  # fmt: skip
# Of what a client has sent the console hears this, and nothing else.
HEARD = {
    "Accept": "$http_accept",
    "Content-Type": "$content_type",
    "Origin": "$http_origin",
    "Sec-Fetch-Site": "$http_sec_fetch_site",
    "If-None-Match": "$http_if_none_match",
    "If-Modified-Since": "$http_if_modified_since",
    "Last-Event-ID": "$http_last_event_id",
}
OFF = ["return 404;"]


def cookie(port: int) -> str:
    """The name of the cookie, of a gateway at this port."""
    return f"{COOKIE}{port}"


def http(plan: GatewayPlan) -> list[str]:
    """Lines that define ``$lab_console``, 1 where there is one; ``$lab_cookie_token``, the token of
    a request below /console/ that came as a cookie; and where an answer is led that is none."""
    console = plan.console
    if console is None:
        return [f'map "" ${name} {{ default ""; }}' for name in ("lab_console", "lab_cookie_token")]
    name = console.cookie
    return [
        'map "" $lab_console { default 1; }',
        "# A cookie is a token for the console alone.",
        "# Of two, one is from somebody else: which one, nobody can tell.",
        f'map $http_cookie $lab_cookies {{ "~*(?s)(?:^|[;,\\s]){name}=.*[;,\\s]{name}=" two; '
        'default ""; }',
        f'map "$route:$lab_cookies" $lab_cookie {{ "{ROUTE}:" $cookie_{name}; default ""; }}',
        "map $lab_cookie $lab_cookie_token {",
        r'    "~^(?<sent_cookie>[A-Za-z0-9._~+/=-]+)\z" $sent_cookie;',
        '    default "";',
        "}",
        "# Whoever sends a token as well goes by that one.",
        f'map $http_authorization $lab_cookie_heard {{ "" "{name}=$lab_cookie_token"; '
        'default ""; }',
        "# What a person reads, a browser shows; a program gets a problem document.",
        'map $http_accept $lab_reads { "~text/html" people; default programs; }',
        "map $lab_reads $lab_unsigned { people /console/sign-in; default @unauthorized; }",
        "map $lab_reads $lab_unscoped { people /console/sign-in; default @not_for_you; }",
        "map $lab_reads $lab_away { people @console_away; default @problem; }",
        "# Why somebody is to sign in who has a token.",
        'map "$status$lab_cookies:$lab_token" $lab_refused {',
        '    "~^401two:" cookies;',
        '    "~^401:." token;',
        '    "~^403:" scope;',
        '    default "";',
        "}",
        f"limit_req_zone $limit_subject zone=console:1m rate={RATE};",
        "# What everybody may ask for, each by itself: files of pages, tokens that were none, and",
        "# the way in, which neither of them blocks.",
        'map "$lab_refused:$lab_shown" $lab_asked_for {',
        '    "~^:static/" file;',
        '    "~^token:" guess;',
        "    default way_in;",
        "}",
        *(
            f'map $lab_asked_for $limit_{kind} {{ {kind} $limit_address; default ""; }}'
            for kind in SHOWN
        ),
        *(
            f"limit_req_zone $limit_{kind} zone=console_{kind}:1m rate={rate};"
            for kind, (rate, _) in SHOWN.items()
        ),
        "upstream lab_console {",
        f"    server {console.address} max_fails=0;",
        "    keepalive_requests 1;               # one that was closed meanwhile would be a 502",
        "}",
    ]


def pages(plan: GatewayPlan) -> list[str]:
    """Of the location with what takes a token: it is judged as everywhere, by its scope for people
    and not by that for models. What the server asks of a token is asked here as well."""
    if plan.console is None:
        return OFF
    told = {
        "X-Subject": "$lab_subject",
        "X-Role": "$lab_role",
        "Authorization": "$http_authorization",
        "Cookie": "$lab_cookie_heard",
    }
    return [
        *_required(),
        limit("console"),
        *_passed(plan.console, plan, told),
        "proxy_pass http://lab_console;",
    ]


def judged(go_on: str) -> list[str]:
    """The same where a token is judged after the limit: it goes on elsewhere once it was."""
    return [
        f"set $route {ROUTE};",
        *_required(),
        *_faults(),
        go_on,
    ]


def shown(plan: GatewayPlan) -> list[str]:
    """Of the location with what everybody may ask for: no more of the address goes on than what
    nginx.conf has found there to be harmless."""
    if plan.console is None:
        return OFF
    return [
        *(limit(f"console_{kind}", burst) for kind, (_, burst) in SHOWN.items()),
        *_passed(plan.console, plan, {"X-Refused": "$lab_refused"}),
        "add_header WWW-Authenticate $problem_challenge always;   # to whom a 401 led here",
        "proxy_pass http://lab_console/console/$lab_shown$is_args$args;",
    ]


def _required() -> list[str]:
    # The open module adds to those of the server; one that replaced them would need these.
    return [
        "auth_jwt_require $token_subject_ok $token_crit_ok $token_ok;",
        "auth_jwt_require $lab_role error=403;",
    ]


def limit(zone: str, burst: int = BURST) -> str:
    return f"limit_req zone={zone} burst={burst} nodelay;"


def _passed(console: ConsoleFront, plan: GatewayPlan, told: dict[str, str]) -> list[str]:
    heard = {
        PROOF: console.secret,
        "Host": "$lab_host",
        "Connection": "close",
        "X-Request-ID": "$lab_request_id",
        "X-Forwarded-Proto": "$scheme",
        **told,
        **HEARD,
    }
    return [
        f"set $route {ROUTE};",
        f"client_max_body_size {MAX_BODY};",
        "add_header X-Request-ID $lab_request_id always;",
        *tls.answers(plan),
        "proxy_buffering off;                # what is live comes as it is",
        "proxy_next_upstream off;            # there is only one, and a change is made once",
        "proxy_pass_request_headers off;     # but for these",
        *(f"proxy_set_header {name} {value};" for name, value in heard.items()),
        *_faults(),
    ]


def _faults() -> list[str]:
    return [
        "error_page 401 $lab_unsigned;",
        "error_page 403 $lab_unscoped;",
        "error_page 502 503 504 =503 $lab_away;",
        "error_page 400 404 405 411 413 414 415 417 421 429 500 501 505 @problem;",
    ]
