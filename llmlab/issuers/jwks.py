"""A provider's JWK set (RFC 7517), and what of it may verify tokens here.

The document comes from elsewhere, and one key in it that NGINX cannot read would keep it from
reading any. So nothing of it is passed on as it is: each key is read here, and written anew, public
members only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmlab.errors import UpstreamError, unreadable

# NGINX's module takes 64 in all (NXE_JWX_MAX_JWKS_KEYS of nxe-jwx); Entra has the most, some 10.
MOST_KEYS = 24
MOST_LISTED = 200  # of a set, whatever they are: each is looked at
KID = re.compile(r"[\x21-\x7e]{1,128}")
WEAKEST, STRONGEST = 2048, 8192  # bits of an RSA key
BY_CURVE = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",)}
BY_TYPE = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "OKP": ("EdDSA",),
}
SHOWN = 40  # letters of what stands in a document of others


@dataclass(frozen=True)
class PublicKey:
    """A key that verifies. ``jwk`` is as NGINX reads it: kty, its numbers, kid, use, and alg where
    its owner said so."""

    kid: str
    jwk: Mapping[str, str]


@dataclass(frozen=True)
class Accepted:
    """What of a set is good for something, in its order, and why the rest is not."""

    keys: tuple[PublicKey, ...] = ()
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fetched:
    """Keys as a provider has them. ``good_for``: seconds by its own word; None if it says none."""

    accepted: Accepted = field(default_factory=Accepted)
    good_for: int | None = None


class _Unfit(Exception):
    """Completes "key KID: "."""


def read_jwks(body: bytes, algorithms: Sequence[str]) -> Accepted:
    """
    Args:
        algorithms: that the issuer's tokens may be signed with.

    Raises:
        UpstreamError: it is no JWK set.
    """
    try:
        listed = json.loads(body)["keys"]
        if not isinstance(listed, list):
            raise TypeError
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UpstreamError(f"its keys are no JWK set: {unreadable(error)}") from None
    found: dict[str, PublicKey] = {}
    dropped = []
    if len(listed) > MOST_LISTED:
        dropped.append(f"of {len(listed)} keys only the first {MOST_LISTED} are looked at")
    for jwk in listed[:MOST_LISTED]:
        try:
            key = _fit(jwk, algorithms)
            if key.kid in found:
                raise _Unfit("there is another one of that kid before it")
            if len(found) == MOST_KEYS:
                raise _Unfit(f"there are {MOST_KEYS} before it")
        except _Unfit as why:
            dropped.append(f"{_named(jwk)}: {why}")
        else:
            found[key.kid] = key
    return Accepted(tuple(found.values()), tuple(dropped))


def algorithms_of(jwk: Mapping[str, Any]) -> tuple[str, ...]:
    """What a key may verify: by its type, and by its own word."""
    kty, alg = jwk.get("kty"), jwk.get("alg")
    by = BY_CURVE.get(str(jwk.get("crv")), ()) if kty == "EC" else BY_TYPE.get(str(kty), ())
    return by if alg is None else tuple(one for one in by if one == alg)


def _named(jwk: Any) -> str:
    kid = jwk.get("kid") if isinstance(jwk, dict) else None
    fits = isinstance(kid, str) and KID.fullmatch(kid)
    return f"key {str(kid)[:SHOWN]}" if fits else "a key"


def _fit(jwk: Any, algorithms: Sequence[str]) -> PublicKey:
    """The key, written anew.

    Raises:
        _Unfit: it is not for this, and why.
    """
    if not isinstance(jwk, dict):
        raise _Unfit("it is no object")
    kty, use, operations = (jwk.get(name) for name in ("kty", "use", "key_ops"))
    if kty == "oct":
        raise _Unfit("it is a secret (oct), with which whoever reads it could sign")
    by = algorithms_of(jwk)
    if not by:
        raise _Unfit("its type, curve or alg is not one that signs tokens here")
    if use not in (None, "sig"):
        raise _Unfit("it is not for signatures (use)")
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        raise _Unfit("it is not for signatures (key_ops)")
    if not set(by) & set(algorithms):
        raise _Unfit(f"it is for none of {', '.join(algorithms)}")
    kid = jwk.get("kid")
    if not isinstance(kid, str):
        raise _Unfit("it has no kid, so nobody could say whose token it verified")
    if not KID.fullmatch(kid):
        raise _Unfit("its kid is empty, longer than 128 letters, or not plain ASCII")
    rest = {"kid": kid, "use": "sig"} | ({"alg": by[0]} if "alg" in jwk else {})
    return PublicKey(kid, {**_numbers(jwk, by[0]), **rest})


def _numbers(jwk: Mapping[str, Any], algorithm: str) -> dict[str, str]:
    """kty, and what makes up the key, as they are once they were read."""
    import jwt
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    names = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y"), "OKP": ("kty", "crv", "x")}
    public = {name: jwk[name] for name in names[str(jwk["kty"])] if name in jwk}
    try:
        read = jwt.PyJWK(public, algorithm)
        if isinstance(read.key, RSAPublicKey) and not WEAKEST <= read.key.key_size <= STRONGEST:
            raise _Unfit(f"it has {read.key.key_size} bits; {WEAKEST} to {STRONGEST} are taken")
        anew = read.Algorithm.to_jwk(read.key, as_dict=True)
    except (jwt.PyJWTError, NotImplementedError, ValueError, TypeError, KeyError,
            AttributeError) as error:  # fmt: skip
        raise _Unfit(f"it cannot be read ({type(error).__name__})") from None
    return {name: str(anew[name]) for name in names[str(jwk["kty"])]}
