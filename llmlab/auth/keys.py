"""The lab's signing keys: one JWK set file (RFC 7517), mode 0600.

The file is a JWK set that other tools can read. Members of our own that the RFC
tells others to ignore: ``created`` on a key, and ``revoked`` beside ``keys``,
which keeps the ids of revoked keys (without their secrets) and when they ended, ``ended``, which
says of subjects until when their tokens were ended, ``api_keys``, what is kept of each of them, and
``api_signer``, the key that signs the tokens which stand for them at the gateway.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from llmlab import subjects
from llmlab.auth import api_keys, demo
from llmlab.auth.api_keys import ApiKey
from llmlab.errors import AuthError, UsageError, unreadable
from llmlab.files import locked, write_atomically
from llmlab.lab import private_folder

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


class KeyStore:
    """The key set on disk. Changes are atomic, and safe between processes."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> KeySet:
        """The key set; an empty one where there is no file.

        Raises:
            AuthError: the file is not a JWK set.
        """
        try:
            document = json.loads(self._file.read_bytes())
            keys = tuple(
                Key({name: value for name, value in jwk.items() if name != "created"},
                    jwk.get("created", ""))
                for jwk in document["keys"]
            )  # fmt: skip
            for key in keys:
                _ = key.kid, key.jwk["kty"]
            ended = {str(sub): int(at) for sub, at in document.get("ended", {}).items()}
            api = tuple(api_keys.read(one) for one in document.get("api_keys", []))
            signer = document.get("api_signer")
            return KeySet(
                keys, dict(document.get("revoked", {})), ended, api, Key(signer) if signer else None
            )
        except FileNotFoundError:
            return KeySet()
        except OSError as error:
            raise AuthError(
                f"{self._file} cannot be read: {unreadable(error)}", fix=f"ls -ld {self._file}"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AuthError(
                f"{self._file} is not a JWK set: {unreadable(error)}",
                fix=f"restore it, or move it away and run llmlab keys init: mv {self._file} /tmp/",
            ) from None

    def ensure(self, algorithm: Algorithm = Algorithm.HS256, *, demo_key: bool = False) -> KeySet:
        """Create the first key, and add the published demo key, where they are missing."""
        with self._changing():
            keys = self.read()
            if not any(not key.is_demo for key in keys.keys):
                keys = replace(keys, keys=(generate(algorithm), *keys.keys))
            if demo_key and not keys.has_demo:
                keys = keys.with_key(Key(demo.JWK, _now()))
            return self._write(keys)

    def rotate(self, algorithm: Algorithm | None = None) -> KeySet:
        """Add a new signing key; the ones before it stay valid until they are revoked."""
        with self._changing():
            keys = self.read()
            return self._write(keys.with_key(generate(algorithm or keys.signing.algorithm)))

    def revoke(self, kid: str) -> KeySet:
        """End a key now: every token signed with it is refused from the next reload on."""
        with self._changing():
            return self._write(self.read().without(kid, _now()))

    def end_tokens(self, subject: str, *, now: float) -> KeySet:
        """End the tokens of a subject: those made until now are refused from the next reload on.

        Raises:
            UsageError: no valid token has this subject. The gateway could not be told of it, nor
                then of anything else.
        """
        if problem := subjects.problem(subject):
            raise UsageError(f"no token can be valid that is named so: {problem}")
        with self._changing():
            keys = self.read()
            return self._write(replace(keys, ended={**keys.ended, subject: int(now)}))

    def restore_tokens(self, subject: str) -> KeySet:
        """Let the tokens of a subject in again, whenever they were made.

        Raises:
            UsageError: they were not ended.
        """
        with self._changing():
            keys = self.read()
            if subject not in keys.ended:
                raise UsageError(
                    f"the tokens of {subject!r} were not ended", fix="llmlab token revoked"
                )
            rest = {sub: at for sub, at in keys.ended.items() if sub != subject}
            return self._write(replace(keys, ended=rest))

    def ensure_signer(self) -> KeySet:
        """Make the key for what stands for API keys and certificates, where it is missing."""
        with self._changing():
            keys = self.read()
            return keys if keys.signer else self._write(_with_signer(keys))

    def add_api_key(self, key: ApiKey) -> KeySet:
        """Let in whoever has this API key, from the next reload on."""
        with self._changing():
            keys = _with_signer(self.read())
            # What its owner had until this second may have been ended: this is a later one.
            key = replace(key, created=max(key.created, keys.ended.get(key.sub, 0) + 1))
            return self._write(replace(keys, api=(*keys.api, key)))

    def remove_api_key(self, named: str) -> KeySet:
        """End an API key.

        Raises:
            UsageError: there is none of this id.
        """
        with self._changing():
            keys = self.read()
            gone = keys.find_api_key(named)
            return self._write(replace(keys, api=tuple(one for one in keys.api if one != gone)))

    @contextmanager
    def _changing(self) -> Iterator[None]:
        private_folder(self._file.parent)
        with locked(self._file.with_suffix(".lock")):
            yield

    def _write(self, keys: KeySet) -> KeySet:
        document: dict[str, Any] = {
            "keys": [{**key.jwk, "created": key.created} for key in keys.keys],
            "revoked": dict(keys.revoked),
            "ended": dict(keys.ended),
        }
        if keys.api or keys.signer:
            document["api_keys"] = [key.document() for key in keys.api]
            document["api_signer"] = dict(keys.signer.jwk) if keys.signer else None
        write_atomically(self._file, json.dumps(document, indent=1) + "\n", mode=0o600)
        return keys


def _with_signer(keys: KeySet) -> KeySet:
    return replace(keys, signer=keys.signer or generate(Algorithm.HS256, kid=api_keys.SIGNER))


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
    return Key(jwk, _now())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
