"""API keys, for clients that send one string for ever and know nothing of tokens.

A key is 256 random bits, so nobody can guess one, and nothing is gained by a slow hash: what is
kept of it is its SHA-256. The gateway looks that up, and goes on with a token that the lab has
signed for the key's owner: so limits, flags, scopes and the ledger see one subject, whichever of
both somebody comes with.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

PREFIX = "sk-llmlab-"
KEY = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")  # 256 bits in base64url
BITS = 256
# Ids of keys that sign tokens are hexadecimal digits, or the demo's.
SIGNER = "api-keys"
NEVER = 253_402_300_799  # the last second of the year 9999
ID = 8  # hexadecimal digits of a key's digest that name it


@dataclass(frozen=True)
class ApiKey:
    """What is kept of an API key. ``digest`` is the SHA-256 of the whole of it, in hexadecimal.

    ``expires`` and ``created`` are seconds since 1970; ``expires`` 0 is never. ``claims`` are said
    of its owner, as a token's would be.
    """

    digest: str = field(repr=False)
    sub: str
    created: int
    expires: int = 0
    claims: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """What a person calls it by. It says nothing of the key."""
        return self.digest[:ID]

    def ended(self, now: float) -> bool:
        return 0 < self.expires <= now

    def payload(self, jti: str = "") -> dict[str, Any]:
        """The claims of the token that stands for it at the gateway."""
        said = {"sub": self.sub, "iss": "llmlab", "jti": jti or self.id}
        return {**said, "iat": self.created, "exp": self.expires or NEVER, **self.claims}

    def document(self) -> dict[str, Any]:
        return asdict(self) | {"claims": dict(self.claims)}


def make() -> tuple[str, str]:
    """(a new key, its digest). The key is told once, and kept nowhere."""
    key = PREFIX + secrets.token_urlsafe(BITS // 8)
    return key, digest(key)


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def is_api_key(text: str) -> bool:
    return bool(KEY.fullmatch(text))


def read(document: Mapping[str, Any]) -> ApiKey:
    """
    Raises:
        KeyError, TypeError, ValueError: it is not what ``ApiKey.document`` writes.
    """
    found = ApiKey(
        digest=str(document["digest"]),
        sub=str(document["sub"]),
        created=int(document["created"]),
        expires=int(document["expires"]),
        claims={str(name): str(value) for name, value in document["claims"].items()},
    )
    if not re.fullmatch(r"[0-9a-f]{64}", found.digest):
        raise ValueError("the digest of an API key is no SHA-256")
    return found
