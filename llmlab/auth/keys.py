"""A lab's keys (RFC 7517): those that sign tokens, and what stands for API keys. What is kept of
them on disk: llmlab.auth.store."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from llmlab.auth import demo
from llmlab.auth.api_keys import ApiKey
from llmlab.errors import AuthError, UsageError

# RFC 7518 section 6: the members that must not leave the key's owner.
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class Algorithm(StrEnum):
    HS256 = "HS256"
    RS256 = "RS256"
    ES256 = "ES256"
    EDDSA = "EdDSA"


@dataclass(frozen=True)
class Key:
    """One JSON Web Key. Its private members never show in ``repr``."""

    jwk: Mapping[str, Any] = field(repr=False)
    created: str = ""

    @property
    def kid(self) -> str:
        return str(self.jwk["kid"])

    @property
    def algorithm(self) -> str:
        return str(self.jwk.get("alg", "HS256"))

    @property
    def symmetric(self) -> bool:
        return str(self.jwk["kty"]) == "oct"

    @property
    def is_demo(self) -> bool:
        return self.symmetric and self.jwk.get("k") == demo.SECRET

    def public(self) -> dict[str, Any]:
        """The JWK without private members; of a symmetric key little is left."""
        return {name: value for name, value in self.jwk.items() if name not in PRIVATE_MEMBERS}

    def for_gateway(self) -> dict[str, Any]:
        """What the gateway needs to verify: the secret of a symmetric key, else the public part."""
        return dict(self.jwk) if self.symmetric else self.public()


@dataclass(frozen=True)
class KeySet:
    """The keys that are valid now, oldest first, and what was revoked.

    Args:
        revoked: {id of a key: when, ISO 8601}.
        ended: {subject: seconds since 1970}: of its tokens, those made until then are refused.
        api: API keys, oldest first.
        signer: signs the tokens that stand for them at the gateway, and none that leaves it.
    """

    keys: tuple[Key, ...] = ()
    revoked: Mapping[str, str] = field(default_factory=dict)
    ended: Mapping[str, int] = field(default_factory=dict)
    api: tuple[ApiKey, ...] = ()
    signer: Key | None = None

    @property
    def signing(self) -> Key:
        """The newest key of our own; the published demo key only when there is no other.

        Raises:
            AuthError: there is no key.
        """
        own = [key for key in self.keys if not key.is_demo]
        if not own and not self.keys:
            raise AuthError(
                "this lab was never up, so it has no signing key yet",
                fix="llmlab up (or, for a key alone: llmlab keys init)",
            )
        return (own or list(self.keys))[-1]

    @property
    def kids(self) -> tuple[str, ...]:
        return tuple(key.kid for key in self.verifying)

    @property
    def has_demo(self) -> bool:
        return any(key.is_demo for key in self.keys)

    @property
    def demo_kid(self) -> str:
        """Id of the published demo key, if it is valid here; else ""."""
        return demo.KID if self.has_demo else ""

    def find(self, kid: str) -> Key:
        for key in self.keys:
            if key.kid == kid:
                return key
        state = "was revoked" if kid in self.revoked else "does not exist"
        known = ", ".join(key.kid for key in self.keys) or "none"
        raise AuthError(f"key {kid!r} {state}; valid keys: {known}", fix="llmlab keys list")

    def gateway_jwks(self, further: Iterable[Mapping[str, Any]] = ()) -> str:
        """The JWK set that the gateway reads, as JSON.

        Args:
            further: public keys of others, behind the lab's own.
        """
        own = [key.for_gateway() for key in self.verifying]
        return json.dumps({"keys": [*own, *(dict(one) for one in further)]}, indent=1) + "\n"

    @property
    def verifying(self) -> tuple[Key, ...]:
        """All of the lab's keys whose tokens the gateway takes."""
        return (*self.keys, *([self.signer] if self.signer else []))

    def with_key(self, key: Key) -> KeySet:
        revoked = {kid: when for kid, when in self.revoked.items() if kid != key.kid}
        return replace(self, keys=(*self.keys, key), revoked=revoked)

    def without(self, kid: str, when: str) -> KeySet:
        if kid in self.revoked:
            return self
        gone = self.find(kid)
        rest = tuple(key for key in self.keys if key is not gone)
        if not any(not key.is_demo for key in rest) and not gone.is_demo:
            raise UsageError(
                f"{kid} is the only key of this lab: without it nobody could be let in",
                fix=f"llmlab keys rotate && llmlab keys revoke {kid}",
            )
        return replace(self, keys=rest, revoked={**self.revoked, kid: when})

    def api_tokens(self) -> dict[str, str]:
        """{digest of an API key: the token that the gateway goes on with}. The same for the same
        key, so that a configuration which says the same is the same."""
        return {key.digest: self._standing_in(key.payload()) for key in self.api}

    def certificate_tokens(self, names: Mapping[str, str]) -> dict[str, str]:
        """{subject of a certificate: the token that the gateway goes on with}.

        Args:
            names: {subject of a certificate: the subject that it is here}.

        Raises:
            AuthError: nobody has signed for them yet.
        """
        return {
            said: self._standing_in(ApiKey("", sub, created=0).payload("certificate"))
            for said, sub in names.items()
        }

    def _standing_in(self, payload: dict[str, Any]) -> str:
        import jwt

        if self.signer is None:
            raise AuthError(
                "this lab has no key yet for what stands for certificates", fix="llmlab up"
            )
        kid, algorithm = self.signer.kid, self.signer.algorithm
        signing = jwt.PyJWK(dict(self.signer.jwk), algorithm)
        return jwt.encode(payload, signing, algorithm, {"kid": kid})

    def find_api_key(self, named: str) -> ApiKey:
        """
        Raises:
            UsageError: no API key has this id.
        """
        for key in self.api:
            if key.id == named:
                return key
        known = ", ".join(key.id for key in self.api) or "none"
        raise UsageError(
            f"there is no API key {named!r}; there are: {known}", fix="llmlab keys api list"
        )

    def has_ended(self, subject: str, issued: object) -> bool:
        """Whether a token of this subject, made at ``issued``, was ended since. One that does not
        say when it was made, in whole seconds, was."""
        until = self.ended.get(subject)
        return until is not None and not (type(issued) is int and issued > until)


def generate(algorithm: str, *, kid: str = "") -> Key:
    """A new key: 256 random bits for HS256, RSA 2048, P-256 or Ed25519 otherwise.

    Args:
        kid: its id; default: random digits.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
    from jwt.utils import base64url_encode

    jwk: dict[str, Any]
    match Algorithm(algorithm):
        case Algorithm.HS256:
            jwk = {"kty": "oct", "k": base64url_encode(secrets.token_bytes(32)).decode()}
        case Algorithm.RS256:
            private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            jwk = RSAAlgorithm.to_jwk(private, as_dict=True)
        case Algorithm.ES256:
            jwk = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)
        case Algorithm.EDDSA:
            jwk = OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate(), as_dict=True)
    # `key_ops` of a private key says "sign", which would tell a verifier to refuse the public part.
    jwk.pop("key_ops", None)
    jwk |= {"kid": kid or secrets.token_hex(4), "alg": str(algorithm), "use": "sig"}
    return Key(jwk, made_now())


def made_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
