"""JSON Web Tokens: mint one, explain one."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from llmlab.auth.keys import Key, KeySet
from llmlab.errors import AuthError, UsageError

DEFAULT_TTL = 3600  # seconds
RESERVED_CLAIMS = frozenset({"sub", "name", "iss", "aud", "iat", "exp"})
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
    """A token taken apart. ``valid`` is what this lab's gateway would say to it."""

    header: dict[str, Any]
    claims: dict[str, Any]
    valid: bool
    reason: str
    expires: str


def parse_ttl(text: str) -> int:
    """``90``, ``30s``, ``15m``, ``1h`` or ``7d`` in seconds."""
    match = _TTL.fullmatch(text.strip())
    if not match or int(match[1]) == 0:
        raise UsageError(f"--ttl {text!r} is not a duration", fix="use 90, 30s, 15m, 1h or 7d")
    return int(match[1]) * _SECONDS[match[2]]


def mint(key: Key, claims: Claims, *, now: float | None = None) -> str:
    """Sign a token (compact JWS) that expires ``claims.ttl`` seconds from now."""
    import jwt

    if (
        any(ord(letter) < 32 or ord(letter) == 127 for letter in claims.sub)
        or len(claims.sub) > 256
    ):
        raise UsageError("a subject is at most 256 characters, none of them a control character")
    clash = RESERVED_CLAIMS & claims.extra.keys()
    if clash:
        raise UsageError(
            f"--claim cannot set {', '.join(sorted(clash))}: there is an option for it"
        )
    issued = int(time.time() if now is None else now)
    optional = {"name": claims.name, "iss": claims.iss, "aud": claims.aud}
    payload = {
        "sub": claims.sub,
        **{name: value for name, value in optional.items() if value},
        "iat": issued,
        "exp": issued + claims.ttl,
        **claims.extra,
    }
    headers = {"kid": key.kid}
    return jwt.encode(payload, jwt.PyJWK(dict(key.jwk), key.algorithm), key.algorithm, headers)


def describe(token: str, keys: KeySet) -> Explained:
    """Take a token apart and verify it against the lab's keys.

    Raises:
        AuthError: the text is not a JWS at all.
    """
    import jwt

    try:
        header = jwt.get_unverified_header(token)
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError as error:
        raise AuthError(
            f"this is not a JWT: {error}", fix="llmlab token | llmlab token --decode -"
        ) from None
    valid, reason = _verdict(token, header, keys)
    return Explained(header, claims, valid, reason, _expiry(claims))


def _verdict(token: str, header: Mapping[str, Any], keys: KeySet) -> tuple[bool, str]:
    import jwt

    try:
        key = keys.find(str(header.get("kid", "")))
        options: Any = {"verify_aud": False, "require": [] if key.is_demo else ["exp"]}
        jwt.decode(
            token, jwt.PyJWK(key.for_gateway(), key.algorithm), algorithms=[key.algorithm],
            options=options,
        )  # fmt: skip
    except AuthError as error:
        return False, error.message
    except jwt.PyJWTError as error:
        return False, str(error)
    return True, f"signed with key {key.kid}"


def _expiry(claims: Mapping[str, Any]) -> str:
    exp = claims.get("exp")
    if not isinstance(exp, int | float) or isinstance(exp, bool):
        return "never"
    when = datetime.fromtimestamp(exp, UTC).isoformat(timespec="seconds")
    left = round(exp - time.time())
    return f"{when} (in {left} s)" if left >= 0 else f"{when} (expired {-left} s ago)"
