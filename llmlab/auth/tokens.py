"""JSON Web Tokens: mint one, explain one."""

from __future__ import annotations

import json
import re
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from llmlab import subjects
from llmlab.auth import api_keys, reading
from llmlab.auth.api_keys import ApiKey
from llmlab.auth.keys import Key, KeySet
from llmlab.auth.unverified import NOT_A_TOKEN, bytes_part, is_date, shown
from llmlab.errors import AuthError, UsageError, unreadable
from llmlab.issuers import judging
from llmlab.issuers.jwks import algorithms_of
from llmlab.issuers.trust import Trust

DEFAULT_TTL = 3600  # seconds
LONGEST_TTL = 10 * 366 * 86400
# With "Authorization: Bearer " before it, a line of NGINX's large_client_header_buffers (8 kB).
LONGEST_TOKEN = 8167  # characters
LEEWAY = 5.0  # seconds
RESERVED_CLAIMS = frozenset({"sub", "name", "iss", "aud", "iat", "exp", "nbf", "jti"})
# Of an API key: its token, in base64url, is one word of NGINX's configuration (4,096 bytes).
LARGEST_CLAIMS = 2400
_TTL = re.compile(r"(\d+)([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Claims:
    """What a token says of its bearer. ``ttl`` is in seconds."""

    sub: str
    name: str = ""
    iss: str = "llmlab"
    aud: str = ""
    ttl: int = DEFAULT_TTL
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Explained:
    """A token taken apart. ``valid`` is what this lab's gateway would say to it.

    Args:
        issuer: the identity provider whose key signed it; "" for the lab's own keys, or none.
        subject: whose it is, as the lab has it; "" for a token that is refused.
    """

    header: dict[str, Any]
    claims: dict[str, Any]
    valid: bool
    reason: str
    expires: str
    issuer: str = ""
    subject: str = ""


def parse_ttl(text: str, *, option: str = "--ttl") -> int:
    """``90``, ``30s``, ``15m``, ``1h`` or ``7d`` in seconds; ten years at most.

    Args:
        option: what it was said by, for the error.
    """
    match = _TTL.fullmatch(text.strip())
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not 0 < seconds <= LONGEST_TTL:
        raise UsageError(f"{option} {text!r} is not a duration", fix="use 90, 30s, 15m, 1h or 7d")
    return seconds


def mint(key: Key, claims: Claims, *, now: float | None = None) -> str:
    """Sign a token (compact JWS) that expires ``claims.ttl`` seconds from now.

    Raises:
        UsageError: a claim is not one that the gateway would let through.
        AuthError: the key cannot sign.
    """
    import jwt

    _refuse_reserved(claims.extra)
    issued = int(time.time() if now is None else now)
    optional = {"name": claims.name, "iss": claims.iss, "aud": claims.aud}
    payload = {
        "sub": claims.sub,
        **{name: value for name, value in optional.items() if value},
        "iat": issued,
        "exp": issued + claims.ttl,
        **claims.extra,
    }
    if problem := subjects.problem(claims.sub) or _content_problem(payload):
        raise UsageError(f"this token would be refused: {problem}")
    with warnings.catch_warnings():
        # The published demo key is short; whoever asks for it was told so.
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
        signing = _loaded(key, dict(key.jwk))
        try:
            made = jwt.encode(payload, signing, key.algorithm, {"kid": key.kid})
        except (jwt.PyJWTError, AttributeError, TypeError) as error:
            raise AuthError(
                f"key {key.kid} cannot sign: {unreadable(error)}", fix="llmlab keys rotate"
            ) from None
    if len(made) > LONGEST_TOKEN:
        raise UsageError(
            f"this token would be refused: it has {len(made):,} characters, and NGINX takes "
            f"{LONGEST_TOKEN:,}",
            fix="leave claims out, or say less in them",
        )
    return made


def check_api_key(key: ApiKey) -> None:
    """
    Raises:
        UsageError: the token that stands for it is not one that the gateway would let through.
    """
    _refuse_reserved(key.claims)
    payload = key.payload()
    if problem := subjects.problem(key.sub) or _content_problem(payload):
        raise UsageError(f"this key would be refused: {problem}")
    if (size := len(json.dumps(payload))) > LARGEST_CLAIMS:
        raise UsageError(
            f"this key would say too much of its owner: {size:,} bytes of {LARGEST_CLAIMS:,}",
            fix="leave claims out, or say less in them",
        )


def _refuse_reserved(said: Mapping[str, str]) -> None:
    if clash := RESERVED_CLAIMS & said.keys():
        raise UsageError(
            f"--claim cannot set {', '.join(sorted(clash))}: there is an option for it"
        )


def _content_problem(payload: dict[str, Any]) -> str:
    try:
        reading.check(payload)
    except reading.Refused as refused:
        return f"its claims: {refused}"
    return ""


def describe(
    token: str, keys: KeySet, *, leeway: float = LEEWAY, trust: Trust | None = None
) -> Explained:
    """Take a token apart and judge it as this lab's gateway would.

    Args:
        leeway: seconds by which other clocks may be ahead: ``gateway.token_leeway``.
        trust: the lab's identity providers and their keys, if it has any.

    Raises:
        AuthError: the text is neither a JWS nor an API key.
    """
    if api_keys.is_api_key(token):
        return _described_key(token, keys)
    parts = token.split(".")
    try:
        token.encode("ascii")
        header, claims = (shown(part) for part in parts[:2])
        signature = bytes_part(parts[2])
    except NOT_A_TOKEN:
        raise AuthError(
            "this is not a JWT: three parts in base64url, the first two of them JSON objects",
            fix="llmlab token | llmlab token --decode -",
        ) from None
    trust = trust or Trust()
    by = trust.owner(header.get("kid"))
    problem, key, sub = _unread(token), None, ""
    if not problem:
        key = _key_of(token, signature, header, keys, trust)
        problem = key if isinstance(key, str) else _problem(header, claims, key, leeway)
        problem = problem or judging.problem(header, claims, trust)
        sub = judging.subject(claims, by.issuer if by else None)
        problem = problem or subjects.problem(sub)
        if not problem and keys.has_ended(sub, claims.get("iat")):
            problem = "the tokens that its subject had when it was made were ended"
    whose = by.issuer.name if by and isinstance(key, Key) else ""
    reason = problem
    if not problem and isinstance(key, Key):
        reason = f"signed with key {key.kid}" + (f" of {whose}" if whose else "")
    return Explained(
        header, claims, not problem, reason, expiry(claims), whose, "" if problem else sub
    )


def _described_key(text: str, keys: KeySet) -> Explained:
    """An API key, by the claims of the token that stands for it."""
    digest = api_keys.digest(text)
    key = next((one for one in keys.api if one.digest == digest), None)
    if key is None:
        return Explained({}, {}, False, "this lab has no such API key", "")
    claims = key.payload()
    problem = "it is expired" if key.ended(time.time()) else ""
    if keys.has_ended(key.sub, key.created):
        problem = "what its subject had when it was made was ended"
    reason = problem or f"the API key {key.id} of {key.sub}"
    return Explained({}, claims, not problem, reason, expiry(claims))


def _unread(token: str) -> str:
    """What keeps the gateway from reading a token at all; "" if nothing does."""
    if len(token) > LONGEST_TOKEN:
        return f"it is longer than {LONGEST_TOKEN:,} characters"
    for part, name in zip(token.split(".")[:2], ("header", "claims"), strict=True):
        try:
            reading.read(bytes_part(part))
        except reading.Refused as refused:
            return f"its {name}: {refused}"
        except ValueError:
            return f"its {name}: not JSON in UTF-8"
    return ""


def _key_of(
    token: str, signature: bytes, header: Mapping[str, Any], keys: KeySet, trust: Trust
) -> Key | str:
    """The key that a token was signed with, or what is wrong. One that names no key by a text may
    have been signed with any of its algorithm."""
    kid, algorithm = header.get("kid"), header.get("alg")
    if by := trust.owner(kid):
        jwk = next(one.jwk for one in by.keys if one.kid == kid)
        if algorithm not in algorithms_of(jwk):
            return (
                f"the algorithm is {algorithm!r}, and key {kid} of {by.issuer.name} is not for it"
            )
        key = Key({**jwk, "alg": algorithm})
        return key if _verifies(token, signature, key) else "the signature is wrong"
    if isinstance(kid, str) and kid:
        try:
            candidates = [keys.find(kid)]
        except AuthError as error:
            return error.message
        if candidates[0].algorithm != algorithm:
            return f"the algorithm is {algorithm!r}, not the key's {candidates[0].algorithm}"
    else:
        candidates = [one for one in keys.keys if one.algorithm == algorithm]
        if not candidates:
            return f"it names no key, and none is for the algorithm {algorithm!r}"
    found = (one for one in candidates if _verifies(token, signature, one))
    return next(found, "the signature is wrong")


def _problem(header: Mapping[str, Any], claims: Mapping[str, Any], key: Key, leeway: float) -> str:
    """What the gateway has against a token whose signature is right; "" if nothing."""
    if "crit" in header:
        return "it has a crit header, and the gateway knows no extensions"
    now = time.time()
    exp: Any = claims.get("exp")
    nbf: Any = claims.get("nbf")
    # Which one lives for ever is asked by its kid.
    if "exp" not in claims and not (key.is_demo and header.get("kid") == key.kid):
        return "it has no exp"
    if "exp" in claims and not (is_date(exp) and exp > now):
        return "it is expired" if is_date(exp) else "its exp is not a number"
    if "nbf" in claims and not (is_date(nbf) and nbf <= now + leeway):
        return "it is not valid yet" if is_date(nbf) else "its nbf is not a number"
    if "iat" in claims and not is_date(claims["iat"]):
        return "its iat is not a number"
    if not isinstance(claims.get("sub", ""), str):
        return "its sub is no text"
    return ""


def _verifies(token: str, signature: bytes, key: Key) -> bool:
    signed, _, _ = token.rpartition(".")
    jwk = _loaded(key, key.for_gateway())
    return bool(jwk.Algorithm.verify(signed.encode(), jwk.key, signature))


def _loaded(key: Key, jwk: dict[str, Any]) -> Any:
    import jwt

    try:
        return jwt.PyJWK(jwk, key.algorithm)
    except (jwt.PyJWTError, NotImplementedError, KeyError, ValueError, TypeError) as error:
        raise AuthError(
            f"key {key.kid} cannot be used: {unreadable(error)}", fix="llmlab keys rotate"
        ) from None


def expiry(claims: Mapping[str, Any], told: Callable[[float], str] = "{:.0f} s".format) -> str:
    """When a token with these claims ends, and how long that is from now.

    Args:
        told: how a number of seconds is said.
    """
    exp = claims.get("exp")
    if exp is None:
        return "never"
    try:
        when = datetime.fromtimestamp(exp, UTC).isoformat(timespec="seconds")
    except (TypeError, ValueError, OverflowError, OSError):
        return f"{exp!r}, which is no date"
    left = round(exp - time.time())
    return f"{when} (in {told(left)})" if left >= 0 else f"{when} (expired {told(-left)} ago)"
