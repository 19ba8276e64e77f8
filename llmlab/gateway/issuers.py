"""What token.js and whose.js are told of identity providers, and how a subject is found."""

from __future__ import annotations

import json
import math
from typing import Any

from llmlab.gateway.plan import GatewayPlan
from llmlab.issuers.trust import Trust, Trusted
from llmlab.scopes import PREFIX

SCRIPT = "lab/issuers.js"
HEADER = "// Rendered by llmlab; edits here are lost.\n"
LAB = -1  # the owner of the lab's own keys; all others are numbers of providers


def subject(trust: Trust) -> list[str]:
    """Lines that define ``$token_sound``, ``$lab_sub`` (whose a token is that was found valid),
    ``$lab_claimed`` (its scopes) and ``$lab_unknown_key`` (for the log)."""
    return [
        "# Of a valid token: what it lets one do, and whose it is, with the name of who made it",
        "# before that unless it is this lab.",
        "js_set $token_told token.told;",
        'map $token_told $token_sound { "~^1" 1; default 0; }',
        r'map $token_told $lab_claimed { "~^1(?<told_for>[^\n]*)\n" $told_for; default " "; }',
        r'map $token_told $lab_sub { "~(?s)^1[^\n]*\n(?<told_sub>.*)" $told_sub; default ""; }',
        *_unknown_key(trust),
    ]


def _unknown_key(trust: Trust) -> list[str]:
    if not trust.issuers:
        return ['map "" $lab_unknown_key { default ""; }']
    return [
        "js_set $token_unknown_key token.unknownKey;",
        'map $status $lab_unknown_key { 401 $token_unknown_key; default ""; }',
    ]


def files(plan: GatewayPlan) -> dict[str, str]:
    """The script that holds keys' owners and rules; nothing for an edition without scripts."""
    if plan.edition == "plus":
        return {}
    return {SCRIPT: f"{HEADER}export default {_told(plan.trust)};\n"}


def _told(trust: Trust) -> str:
    """A text of JavaScript that holds JSON. An object there and then would take a key that is
    called __proto__ for its own kind."""
    if not trust.issuers:
        return "''"
    owners = dict.fromkeys(trust.own, LAB)
    for number, one in enumerate(trust.issuers):
        owners |= {key.kid: number for key in one.keys}
    document = {"issuers": [_issuer(one) for one in trust.issuers], "owners": owners}
    return json.dumps(json.dumps(document))


def _issuer(trusted: Trusted) -> dict[str, Any]:
    one = trusted.issuer
    return {
        "name": one.name, "iss": one.issuer, "audiences": one.audiences,
        "algorithms": one.algorithms, "subject": one.subject, "prefix": one.before,
        "require": [[claim, wanted if isinstance(wanted, list) else [wanted]]
                    for claim, wanted in one.require.items()],
        "scopes": one.scopes, "until": math.floor(trusted.until), "operators": one.operators,
        "defaults": None if one.default_scopes is None else _words(one.default_scopes),
    }  # fmt: skip


def _words(names: list[str]) -> list[str]:
    """As words of a scope; for nothing at all one that is the name of nothing."""
    return [f"{PREFIX}{name}" for name in names] or [f"{PREFIX}!"]
