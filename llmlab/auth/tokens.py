"""JSON Web Tokens: mint one, explain one."""

from __future__ import annotations

import base64
import json
import re
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from llmlab.auth.keys import Key, KeySet
from llmlab.errors import AuthError, UsageError, unreadable

DEFAULT_TTL = 3600  # seconds
LONGEST_TTL = 10 * 366 * 86400
LONGEST_SUBJECT = 256  # bytes, as in nginx.conf
RESERVED_CLAIMS = frozenset({"sub", "name", "iss", "aud", "iat", "exp", "nbf"})
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
    """``90``, ``30s``, ``15m``, ``1h`` or ``7d`` in seconds; ten years at most."""
    match = _TTL.fullmatch(text.strip())
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not 0 < seconds <= LONGEST_TTL:
        raise UsageError(f"--ttl {text!r} is not a duration", fix="use 90, 30s, 15m, 1h or 7d")
    return seconds


def mint(key: Key, claims: Claims, *, now: float | None = None) -> str:
    """Sign a token (compact JWS) that expires ``claims.ttl`` seconds from now.

    Raises:
        UsageError: a claim is not one that the gateway would let through.
        AuthError: the key cannot sign.
    """
    import jwt

    if problem := _subject_problem(claims.sub):
        raise UsageError(f"this token would be refused: {problem}")
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
    with warnings.catch_warnings():
        # The published demo key is short; whoever asks for it was told so.
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
        signing = _loaded(key, dict(key.jwk))
        try:
            return jwt.encode(payload, signing, key.algorithm, {"kid": key.kid})
        except (jwt.PyJWTError, AttributeError, TypeError) as error:
            raise AuthError(
                f"key {key.kid} cannot sign: {unreadable(error)}", fix="llmlab keys rotate"
            ) from None


def describe(token: str, keys: KeySet) -> Explained:
    """Take a token apart and judge it as this lab's gateway would.

    Raises:
        AuthError: the text is not a JWS at all.
    """
    try:
        header, claims = (_json_part(part) for part in token.split(".")[:2])
        signature = _bytes_part(token.split(".")[2])
    except (ValueError, IndexError):
        raise AuthError(
            "this is not a JWT: three parts in base64url, the first two of them JSON objects",
            fix="llmlab token | llmlab token --decode -",
        ) from None
    problem = _problem(header, claims, keys)
    if not problem and not _verifies(token, signature, keys.find(str(header["kid"]))):
        problem = "the signature is wrong"
    reason = problem or f"signed with key {header['kid']}"
    return Explained(header, claims, not problem, reason, _expiry(claims))


def expires_at(token: str) -> float | None:
    """When a token ends by its own word, in seconds since the epoch; None if it does not say.

    Nothing is verified: this is for those who cannot, and only want to know when to ask anew.
    """
    try:
        exp: Any = _json_part(token.split(".")[1]).get("exp")
    except (ValueError, IndexError):
        return None
    return float(exp) if _is_date(exp) else None


def subject_of(token: str) -> str:
    """Whose token it is by its own word; "" if it does not say. Nothing is verified."""
    try:
        sub: Any = _json_part(token.split(".")[1]).get("sub")
    except (ValueError, IndexError):
        return ""
    return sub if isinstance(sub, str) else ""


def _problem(header: Mapping[str, Any], claims: Mapping[str, Any], keys: KeySet) -> str:
    """What the gateway has against a token, its signature aside; "" if nothing."""
    try:
        key = keys.find(str(header.get("kid", "")))
    except AuthError as error:
        return error.message
    if header.get("alg") != key.algorithm:
        return f"the algorithm is {header.get('alg')!r}, not the key's {key.algorithm}"
    if "crit" in header:
        return "it has a crit header, and the gateway knows no extensions"
    now = time.time()
    exp: Any = claims.get("exp")
    nbf: Any = claims.get("nbf")
    if "exp" not in claims and not key.is_demo:
        return "it has no exp"
    if "exp" in claims and not (_is_date(exp) and exp > now):
        return "it is expired" if _is_date(exp) else "its exp is not a number"
    if "nbf" in claims and not (_is_date(nbf) and nbf <= now):
        return "it is not valid yet" if _is_date(nbf) else "its nbf is not a number"
    return _subject_problem(str(claims.get("sub", "")))


def _subject_problem(sub: str) -> str:
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in sub):
        return "its subject holds a control character"
    if sub != sub.strip(" "):
        return "its subject begins or ends with a space"
    if len(sub.encode()) > LONGEST_SUBJECT:
        return f"its subject is longer than {LONGEST_SUBJECT} bytes"
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


def _bytes_part(part: str) -> bytes:
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)


def _json_part(part: str) -> dict[str, Any]:
    value = json.loads(_bytes_part(part))
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _is_date(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _expiry(claims: Mapping[str, Any]) -> str:
    exp = claims.get("exp")
    if exp is None:
        return "never"
    try:
        when = datetime.fromtimestamp(exp, UTC).isoformat(timespec="seconds")
    except (TypeError, ValueError, OverflowError, OSError):
        return f"{exp!r}, which is no date"
    left = round(exp - time.time())
    return f"{when} (in {left} s)" if left >= 0 else f"{when} (expired {-left} s ago)"
