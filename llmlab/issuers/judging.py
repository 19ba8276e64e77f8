"""What the gateway has against a token whose signature is right, because of who made it: the same
as whose.js says there, in words. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from llmlab.config.auth import Issuer
from llmlab.issuers.trust import Trust, Trusted

SCOPES = ("scope", "scp")  # RFC 8693; Entra and Okta


def problem(
    header: Mapping[str, Any], claims: Mapping[str, Any], trust: Trust, now: float | None = None
) -> str:
    """
    Args:
        now: seconds since 1970; default: as of now.

    Returns:
        What is wrong; "" if nothing is.
    """
    if not trust.issuers:
        return ""
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        return "it names no key (kid), so nobody could say which issuer's verified it"
    if by := trust.owner(kid):
        found = _problem_by(by, header, claims, time.time() if now is None else now)
        return found or _borrowed(subject(claims, by.issuer), by, trust)
    if trust.of(claims.get("iss")):
        return f"a key of this lab signed it, and its iss is {claims['iss']!r}"
    return ""


def _borrowed(sub: str, by: Trusted, trust: Trust) -> str:
    """Without a prefix, somebody there might else be called as somebody of another provider."""
    for other in trust.issuers:
        if other != by and other.issuer.before and sub.startswith(other.issuer.before):
            return f"its subject begins as those of {other.issuer.name} do"
    return ""


def _problem_by(
    by: Trusted, header: Mapping[str, Any], claims: Mapping[str, Any], now: float
) -> str:
    """Of a token by a provider's key."""
    issuer = by.issuer
    if now >= by.until:
        return f"the keys of {issuer.name} could not be fetched for too long"
    if claims.get("iss") != issuer.issuer:
        return f"a key of {issuer.name} signed it, and its iss is not {issuer.issuer!r}"
    if header.get("alg") not in issuer.algorithms:
        return f"its algorithm is none of {', '.join(issuer.algorithms)}"
    if not set(_texts(claims.get("aud"))) & set(issuer.audiences):
        return f"its aud has none of {', '.join(issuer.audiences)}"
    for name, wanted in issuer.require.items():
        if not _has(claim(claims, name), wanted if isinstance(wanted, list) else [wanted]):
            return f"its claim {name} has not the value that {issuer.name} requires"
    missing = [one for one in issuer.scopes if one not in scopes(claims)]
    if missing:
        return f"it has no scope {', '.join(missing)}"
    if not subject(claims, issuer):
        return f"its claim {issuer.subject}, which says whose it is, is no text"
    return ""


def subject(claims: Mapping[str, Any], issuer: Issuer | None) -> str:
    """Whose token it is, here; "" if it does not say.

    Args:
        issuer: whose key signed it; None for the lab's own.
    """
    said = claim(claims, issuer.subject) if issuer else claims.get("sub")
    return (issuer.before if issuer else "") + said if isinstance(said, str) and said else ""


def claim(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of this name, or what the names between its dots lead to; None if there is none."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        if not isinstance(found, dict) or part not in found:
            return None
        found = found[part]
    return found


def scopes(claims: Mapping[str, Any]) -> list[str]:
    """Those of a token: a text with spaces between, or a list."""
    found: list[str] = []
    for name in SCOPES:
        said = claims.get(name)
        found += said.split(" ") if isinstance(said, str) else _texts(said)
    return [one for one in found if one]


def _has(said: Any, wanted: list[Any]) -> bool:
    there = said if isinstance(said, list) else [said]
    # In Python True is 1, and in JSON it is not.
    return any(type(one) is type(value) and one == value for one in there for value in wanted)


def _texts(said: Any) -> list[str]:
    there = said if isinstance(said, list) else [said]
    return [one for one in there if isinstance(one, str)]
