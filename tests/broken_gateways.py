"""The lab's own gateway with one protection taken out each, by an edit of its text; and what of a
probe has to fail there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

NGINX, HTTP, SERVER = "nginx.conf", "lab/http.conf", "lab/server.conf"
GOOD = "<a good token>"
TOKENS, MODELS, ADDRESS = "lab/token.js", "lab/models.conf", "lab/limit_address.conf"


@dataclass(frozen=True)
class Broken:
    """
    Args:
        what: is broken.
        edits: (file, old, new); ``old`` has to stand there, and may several times.
        fails: ids of the checks that fail, and no others.
        has: what the gateway has beside the usual: budgets, issuers.
    """

    what: str
    edits: tuple[tuple[str, str, str], ...]
    fails: frozenset[str]
    has: str = ""

    def of(self, files: Mapping[str, str], good: str = "") -> dict[str, str]:
        """
        Args:
            good: the token that GOOD stands for in an edit.
        """
        changed = dict(files)
        for file, old, new in self.edits:
            assert old in changed[file], f"{self.what}: {file} does not hold {old!r}"
            changed[file] = changed[file].replace(old, new.replace(GOOD, good))
        return changed


def broken(what: str, file: str, old: str, new: str, *fails: str, has: str = "") -> Broken:
    return Broken(what, ((file, old, new),), frozenset(fails), has)


# The script looks at the header as well, so that either would do.
SCRIPT_TRUSTS = (TOKENS, "return header.crit === undefined;", "return true;")


BROKEN = [
    # --- tokens -------------------------------------------------------------------
    broken("a location that opens by itself", MODELS,
           "location /models/scripted/ {", "location /models/scripted/ {\n auth_jwt off;",
           "auth.every-address"),
    broken("nbf is not looked at", TOKENS, "if (claims.nbf !== undefined &&", "if (false &&",
           "auth.not-yet-valid", "auth.nbf-a-text"),
    Broken("crit is not looked at",
           ((NGINX, "$token_subject_ok $token_crit_ok $token_ok", "$token_subject_ok $token_ok"),
            SCRIPT_TRUSTS),
           frozenset({"auth.crit", "auth.crit-empty"})),
    Broken("exp need not be there",
           ((TOKENS, "return demo !== ''", "return true || demo !== ''"),
            (SERVER, "auth_jwt_phase preaccess;",
             "auth_jwt_phase preaccess; auth_jwt_validate_exp off;")),
           frozenset({"auth.no-exp", "auth.claims-empty"})),
    broken("a subject may be a list", TOKENS,
           "claims.sub === undefined || typeof", "true || typeof", "auth.sub-a-list"),
    broken("a subject may hold line breaks", NGINX, '"~[\\x00-\\x1f\\x7f]"           0;', "",
           "auth.sub-with-line-break"),
    Broken("a token may stand in the address",
           ((HTTP, '""       $lab_cookie_token;', '""       $arg_access_token;'),),
           frozenset({"auth.token-in-query"})),
    Broken("a token may stand in a cookie",
           ((HTTP, '""       $lab_cookie_token;', '""       $cookie_token;'),),
           frozenset({"auth.token-in-cookie"})),
    Broken("the last of several tokens counts",
           ((HTTP, '"~*^Bearer +(?<sent_token>', '"~*Bearer +(?<sent_token>'),),
           frozenset({"auth.two-in-one-header"})),
    broken("no challenge", NGINX, "add_header WWW-Authenticate  $problem_challenge always;", "",
           "auth.challenge", "auth.scope-missing"),
    broken("any API key is somebody's", HTTP, "$lab_by_key {\n    default $lab_token;",
           f'$lab_by_key {{\n    default "{GOOD}";', "auth.api-key-unknown"),
    broken("scopes are not looked at", SERVER, "auth_jwt_require $lab_may error=403;", "",
           "auth.scope-missing"),
    broken("who lacks a scope is not told", NGINX, 'error="insufficient_scope", ', "",
           "auth.scope-missing"),
    broken("the lab's own key speaks for a provider", "lab/whose.js",
           "return TRUST.issuers.every((one) => one.iss !== claims.iss);", "return true;",
           "auth.foreign-issuer", has="issuers"),
    # --- who asks -------------------------------------------------------------------
    broken("the subject is not told", NGINX,
           "proxy_set_header    X-Subject          $lab_subject;", "",
           "identity.spoofed-subject", "identity.subject-told", "isolation.one-connection",
           "isolation.cache", "identity.connection-clears-nothing"),
    broken("the address of the client's words", NGINX,
           "X-Forwarded-For    $remote_addr;", "X-Forwarded-For    $proxy_add_x_forwarded_for;",
           "identity.spoofed-address"),
    broken("Forwarded is passed on", NGINX, 'proxy_set_header Forwarded "";', "",
           "identity.spoofed-address"),
    broken("X-Original-URL is passed on", NGINX, 'proxy_set_header X-Original-URL "";', "",
           "identity.spoofed-place"),
    broken("X-HTTP-Method-Override is passed on", NGINX,
           'proxy_set_header X-HTTP-Method-Override "";', "", "identity.spoofed-method"),
    broken("a certificate of the client's words", NGINX,
           'proxy_set_header X-Forwarded-Client-Cert "";', "", "identity.spoofed-scheme"),
    broken("the route of the client's words", NGINX,
           "proxy_set_header    X-Revision         $lab_revision;", "", "identity.spoofed-route"),
    broken("names with underscores", NGINX, "server_tokens         off;",
           "server_tokens off; underscores_in_headers on;", "identity.hidden-names"),
    broken("the token is passed on", NGINX, 'proxy_set_header Authorization "";', "",
           "identity.token-stays"),
    broken("cookies are passed on", NGINX, 'proxy_set_header Cookie "";', "",
           "identity.cookies-stay"),
    broken("Connection is passed on", NGINX, 'proxy_set_header    Connection         "";',
           "proxy_set_header    Connection         $http_connection;",
           "identity.connection-clears-nothing"),
    broken("any request id", NGINX, '"~^[A-Za-z0-9._:-]{1,128}$"  $http_x_request_id;',
           '"~."  $http_x_request_id;', "identity.request-id"),
    # --- limits ---------------------------------------------------------------------
    broken("no limit for subjects", SERVER, "limit_req zone=subject burst=20 nodelay;", "",
           "limits.per-subject"),
    broken("one limit for all subjects of an address", HTTP,
           "limit_req_zone $limit_subject zone=subject:10m rate=30r/s;",
           "limit_req_zone $limit_address zone=subject:10m rate=30r/s;", "limits.fair"),
    broken("no Retry-After", NGINX, "add_header Retry-After       $problem_retry_after always;", "",
           "limits.retry-after"),
    Broken("tokens may be guessed",
           ((ADDRESS, "limit_req zone=address burst=20 nodelay;",
             "limit_req zone=wide burst=1000 nodelay;"),
            (HTTP, "limit_req_zone $limit_address zone=address:10m rate=30r/s;",
             "limit_req_zone $limit_address zone=wide:1m rate=1000r/s;")),
           frozenset({"limits.guesses"})),
    broken("bodies of any size", SERVER, "client_max_body_size 256k;", "client_max_body_size 0;",
           "limits.body-announced", "limits.body-in-pieces"),
    broken("what is left of a budget stays as it was", "lab/budgets.js",
           "room.left > 0 ? room.left : 0", "room.most", "limits.budget-told", has="budgets"),
    # --- the protocol -----------------------------------------------------------------
    broken("headers of any size", NGINX, "server_tokens         off;",
           "server_tokens off; large_client_header_buffers 16 256k;",
           "protocol.long-line", "protocol.long-header"),
    broken("slow clients may stay", NGINX, "client_header_timeout 1s;",
           "client_header_timeout 60s;",
           "protocol.slow-head"),
    broken("the version is told", NGINX, "server_tokens         off;", "server_tokens on;",
           "protocol.no-versions"),
    broken("NGINX's own pages for some errors", NGINX,
           "error_page 404 413 415 429 503  @problem;", "error_page 415 429 503  @problem;",
           "protocol.problem-documents", "openai.errors"),
    broken("refusals without an id", NGINX,
           "add_header X-Request-ID      $lab_request_id always;", "", "protocol.answers-have-ids"),
    broken("the metrics are everybody's", NGINX,
           "location ~ ^(/models/[^/]+)?/(metrics|shadow) {", "location = /no-longer {",
           "protocol.operators-addresses", "protocol.path-tricks"),
    broken("the metrics by another spelling", NGINX,
           "location ~ ^(/models/[^/]+)?/(metrics|shadow) {", "location ~ ^/(metrics|shadow) {",
           "protocol.path-tricks"),
    broken("any page may ask", SERVER, "limit_req_status 429;",
           "limit_req_status 429;\nadd_header Access-Control-Allow-Origin $http_origin always;",
           "protocol.origins"),
    # --- answers ----------------------------------------------------------------------
    broken("streams are held back", NGINX,
           "proxy_buffering off;            # each token as it comes",
           "proxy_ignore_headers X-Accel-Buffering;", "openai.stream-flows"),
    broken("no deadline", NGINX, 'proxy_set_header Proxy-Authorization "";',
           'proxy_set_header Proxy-Authorization ""; proxy_set_header X-Request-Timeout "";',
           "resilience.deadline"),
]  # fmt: skip
