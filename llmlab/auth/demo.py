"""The reference lab's published key and token. Public, so worthless as a secret."""

from __future__ import annotations

from typing import Any

KID = "0001"
SECRET = "ZmFudGFzdGljand0"  # noqa: S105  base64url of "fantasticjwt", published
# The published key set names no algorithm, and the published token has no exp.
JWK: dict[str, Any] = {"kty": "oct", "k": SECRET, "kid": KID}
HEADER = {"typ": "JWT", "alg": "HS256", "kid": KID}
CLAIMS = {"name": "Quotation System", "sub": "quotes", "iss": "My API Gateway"}
