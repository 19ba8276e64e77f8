"""API keys at the gateway: each is looked up by its digest, and goes on as a token.

NGINX decides from its configuration, so nothing else is in a request's path. A reload takes new
keys over; one that is ended has to be so on connections from before as well, whose workers go by
the configuration from before for some seconds. So ended ones are also told to all workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

from llmlab.auth.api_keys import PREFIX, SIGNER
from llmlab.errors import ConfigError
from llmlab.gateway.quoting import exactly

SCRIPT = "lab/api_keys.js"
END = "/ended_keys"  # where ended ones are told, beside the gateway's own metrics
# Longer than any connection goes by a configuration from before (see render.LINGER), and than it
# takes to mend what kept the gateway from being reloaded.
REMEMBERED = 86_400  # seconds


# Rendered, and not in nginx.conf, for one from before has none. RFC 9110: a scheme has no case,
# and one or more spaces behind it.
SENT = [
    "# What a client has sent.",
    "map $http_authorization $lab_token {",
    r'    "~*^Bearer +(?<sent_token>[^\s,]+)\z"  $sent_token;',
    '    ""       $lab_cookie_token;            # of a browser, for the console',
    '    default "";',
    "}",
]


def by_token_only(certificates: Mapping[str, str]) -> list[str]:
    """Without a script: what a client has sent, or else what its certificate stands for."""
    return [
        *SENT,
        *_by_certificate(certificates),
        'map $lab_token $lab_credential { "" $lab_by_certificate; default $lab_token; }',
        *_own(),
    ]


def _by_certificate(tokens: Mapping[str, str]) -> list[str]:
    """One that NGINX has verified, of a client that sends no token."""
    return [
        'map "$ssl_client_verify:$ssl_client_s_dn" $lab_by_certificate {',
        *(f'    {exactly(f"SUCCESS:{said}")} "{token}";' for said, token in tokens.items()),
        '    default "";',
        "}",
    ]


def _own() -> list[str]:
    return [
        "# The tokens that stand here for keys and certificates let nobody in who sends one.",
        'map "$jwt_header_kid:$lab_token" $token_own {',
        f'    "~^{SIGNER}:(?!{PREFIX}|\\z)" 0;',
        "    default 1;",
        "}",
    ]


def credentials(tokens: Mapping[str, str], certificates: Mapping[str, str]) -> list[str]:
    """Lines that define ``$lab_credential``: the token that a client has sent, or the one that its
    API key or its certificate stands for; an unknown key stays what it is, which is no token. And
    ``$token_own``: those tokens are in a configuration that people may look at, so whoever sends
    one of them, and no key, is let in by none.

    Args:
        tokens: {SHA-256 of an API key, in hexadecimal: token}.
        certificates: {subject of a client's certificate: token}.
    """
    return [
        *SENT,
        f"js_import api_keys from {SCRIPT};",
        f"js_shared_dict_zone zone=lab_ended_keys:128k timeout={REMEMBERED}s evict;",
        "js_set $lab_key_digest api_keys.digest;",
        "map $lab_key_digest $lab_by_key {",
        *(f'    {digest} "{token}";' for digest, token in tokens.items()),
        "    default $lab_token;",
        "}",
        *_by_certificate(certificates),
        "map $lab_token $lab_credential {",
        '    "" $lab_by_certificate;',
        f'    "~^{PREFIX}" $lab_by_key;',
        "    default $lab_token;",
        "}",
        *_own(),
    ]


def ending() -> list[str]:
    """Where ended keys are told: asked from this machine, or from within the container, only."""
    return [
        f"location = {END} {{",
        "    allow unix:;",
        "    allow 127.0.0.1;",
        "    deny all;",
        "    client_max_body_size 64k;",
        "    client_body_buffer_size 64k;",
        "    js_content api_keys.end;",
        "}",
    ]


def refuse_without_njs(tokens: Mapping[str, str]) -> None:
    """
    Raises:
        ConfigError: there are API keys, and this NGINX cannot look them up.
    """
    if tokens:
        raise ConfigError(
            "this lab has API keys, and NGINX Plus's image has no njs to look them up with",
            fix='gateway.edition = "open", or end them: llmlab keys api list',
        )


def script() -> dict[str, str]:
    text = resources.files("llmlab.gateway").joinpath("api_keys.js").read_text(encoding="utf-8")
    return {SCRIPT: text}
