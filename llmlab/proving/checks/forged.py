"""Tokens that are no good, as tables. Pure: how each is made, and what it stands for.

What a verifier has to refuse stands in RFC 7515, 7519 and 8725.
"""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass

from llmlab.auth import Key, demo
from llmlab.proving.tokens import Signer, b64, opened, part

DAY = 86_400  # seconds
STALE = 3600  # seconds that no clock is wrong by


@dataclass(frozen=True)
class Forged:
    """
    Args:
        make: of a good token and, for those that need it, the key.
        proves, fix: as of a check.
    """

    name: str
    proves: str
    fix: str
    make: Callable[[str], str]


@dataclass(frozen=True)
class Misused:
    """Likewise, rightly signed."""

    name: str
    proves: str
    fix: str
    make: Callable[[Signer, str], str]


ALGORITHMS = "name the algorithms that are taken, each with its key, and no others"
SIGNATURE = "verify the signature before anything of a token is believed"
KEYS = "take keys from your own set only, never from what a token says"
DATES = "demand exp, and refuse what is no number or lies on the wrong side of now"


def _of(header: dict[str, object], good: str, signature: str = "") -> str:
    """The claims of a good token under another header."""
    head, _ = opened(good)
    return f"{part({**head, **header})}.{good.split('.')[1]}.{signature}"


def _changed(good: str) -> str:
    _, claims = opened(good)
    first, _, last = good.split(".")
    return f"{first}.{part({**claims, 'sub': 'somebody-else'})}.{last}"


def _hmac(header: dict[str, object], good: str, secret: bytes) -> str:
    unsigned = _of({"alg": "HS256", **header}, good).rstrip(".")
    return f"{unsigned}.{b64(hmac.digest(secret, unsigned.encode(), 'sha256'))}"


def _self_signed(good: str) -> str:
    """By a key that the token brings along."""
    secret = b"brought along by whoever asks."
    return _hmac({"jwk": {"kty": "oct", "k": b64(secret), "alg": "HS256"}}, good, secret)


def _flipped(good: str) -> str:
    rest, _, signature = good.rpartition(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)) or b"x")
    raw[0] ^= 1
    return f"{rest}.{b64(bytes(raw))}"


def _published(good: str) -> str:
    claims = {"sub": "quotes", "iss": "My API Gateway", "exp": int(time.time()) + 600}
    del good
    return Signer(Key(demo.JWK)).sign(claims)


OUTSIDE = [
    Forged("alg-none", "A token that is not signed opens nothing.", ALGORITHMS,
           lambda good: _of({"alg": "none"}, good)),
    Forged("alg-none-in-capitals", "No spelling of none opens anything.", ALGORITHMS,
           lambda good: _of({"alg": "nOnE"}, good)),
    Forged("alg-none-signed", "none with a signature opens nothing.", ALGORITHMS,
           lambda good: _of({"alg": "none"}, good, good.rpartition(".")[2])),
    Forged("alg-unknown", "An algorithm that there is not opens nothing.", ALGORITHMS,
           lambda good: _of({"alg": "HS257"}, good, good.rpartition(".")[2])),
    Forged("no-signature", "A token whose signature was cut off opens nothing.", SIGNATURE,
           lambda good: good.rpartition(".")[0] + "."),
    Forged("wrong-signature", "One bit of the signature is enough.", SIGNATURE, _flipped),
    Forged("changed-claims", "Nobody can write another name into a token.", SIGNATURE, _changed),
    Forged("empty-secret", "An empty secret signs nothing.", SIGNATURE,
           lambda good: _hmac({}, good, b"")),
    Forged("kid-a-path", "The name of a key is no path of a file.", KEYS,
           lambda good: _hmac({"kid": "../../../../../../dev/null"}, good, b"")),
    Forged("kid-a-query", "The name of a key is no part of a query.", KEYS,
           lambda good: _hmac({"kid": "' UNION SELECT 'a"}, good, b"a")),
    Forged("key-in-token", "A key that a token brings along signs nothing.", KEYS, _self_signed),
    Forged("published-key", "The key of the tutorial, which everybody knows, signs nothing.",
           "revoke it: llmlab keys revoke 0001", _published),
    Forged("two-parts", "Half a token opens nothing.", SIGNATURE,
           lambda good: good.rpartition(".")[0]),
    Forged("four-parts", "A token with something behind it opens nothing.", SIGNATURE,
           lambda good: good + ".x"),
    Forged("not-a-token", "What is no token opens nothing.", SIGNATURE, lambda good: "opensesame"),
]  # fmt: skip


def _now() -> int:
    return int(time.time())


def _without(signer: Signer, sub: str, name: str) -> str:
    claims = signer.claims(sub)
    return signer.sign({key: value for key, value in claims.items() if key != name})


SIGNED = [
    Misused("another-key", "A key that the gateway does not know signs nothing.", KEYS,
            lambda key, sub: key.another().sign(key.claims(sub))),
    Misused("unknown-kid", "A token that names a key there is not opens nothing.", KEYS,
            lambda key, sub: key.sign(key.claims(sub), key.header(kid="no-such-key"))),
    Misused("expired", "A token that has ended opens nothing.", DATES,
            lambda key, sub: key.sign(key.claims(sub, iat=_now() - DAY, exp=_now() - STALE))),
    Misused("no-exp", "A token that never ends opens nothing.", DATES,
            lambda key, sub: _without(key, sub, "exp")),
    Misused("exp-a-text", "An end that is no number is no end.", DATES,
            lambda key, sub: key.sign(key.claims(sub, exp=str(_now() + DAY)))),
    Misused("exp-null", "An end that is nothing is no end.", DATES,
            lambda key, sub: key.sign(key.claims(sub, exp=None))),
    Misused("exp-infinite", "An end beyond all numbers is no end.", DATES,
            lambda key, sub: key.sign(f'{{"sub":"{sub}","iss":"llmlab","exp":1e400}}')),
    Misused("not-yet-valid", "A token that begins tomorrow opens nothing today.",
            "demand that nbf is not ahead (auth_jwt_require)",
            lambda key, sub: key.sign(key.claims(sub, nbf=_now() + DAY // 2, exp=_now() + DAY))),
    Misused("nbf-a-text", "A beginning that is no number is none.",
            "demand that nbf is a number (auth_jwt_require)",
            lambda key, sub: key.sign(key.claims(sub, nbf=str(_now() + DAY // 2)))),
    Misused("crit", "An extension that nobody knows, and that must be known, is refused.",
            "refuse tokens with crit (auth_jwt_require), as RFC 7515 4.1.11 demands",
            lambda key, sub: key.sign(key.claims(sub), key.header(crit=["b64x"], b64x=False))),
    Misused("crit-empty", "An empty crit is no crit.",
            "refuse tokens with crit (auth_jwt_require), as RFC 7515 4.1.11 demands",
            lambda key, sub: key.sign(key.claims(sub), key.header(crit=[]))),
    Misused("sub-a-list", "Who is several is nobody.", "demand that sub is a text",
            lambda key, sub: key.sign(key.claims(sub, sub=[sub, "admin"]))),
    Misused("claims-a-list", "Claims that are no object are none.", SIGNATURE,
            lambda key, sub: key.sign("[1]")),
    Misused("claims-empty", "A token that says nothing opens nothing.", DATES,
            lambda key, sub: key.sign("{}")),
]  # fmt: skip

# What a short list of everybody's passwords begins with, and what examples are signed with.
GUESSES = (
    "secret", "your-256-bit-secret", "your-secret-key", "changeme", "change-me", "password",
    "fantasticjwt", "jwt", "jwt-secret", "mysecret", "my-secret", "supersecret", "super-secret",
    "shhhhh", "test", "key", "admin", "123456", "a-string-secret-at-least-256-bits-long",
    "hs256-secret", "nginx", "llmlab", "openai", "default",
)  # fmt: skip


def guessed(good: str) -> str:
    """The secret of a token, if it is one that everybody tries; else ""."""
    header, _ = opened(good)
    if header.get("alg") != "HS256":
        return ""
    signing, _, signature = good.rpartition(".")
    for guess in GUESSES:
        for secret in (guess.encode(), base64.b64encode(guess.encode())):
            if b64(hmac.digest(secret, signing.encode(), "sha256")) == signature:
                return guess
    return ""
