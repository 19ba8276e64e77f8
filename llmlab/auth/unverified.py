"""What a token says of itself, for those who cannot verify it, or only want to show it."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

# What taking apart a text that is no token, or none that means well, may end in.
NOT_A_TOKEN = (ValueError, IndexError, RecursionError, OverflowError)


def expires_at(token: str) -> float | None:
    """When a token ends by its own word, in seconds since the epoch; None if it does not say.

    Nothing is verified: this is for those who cannot, and only want to know when to ask anew.
    """
    try:
        exp: Any = shown(token.split(".")[1]).get("exp")
        # 1e400 is a number in JSON, and NaN is one to Python: neither is a time.
        return float(exp) if is_date(exp) and math.isfinite(exp) else None
    except NOT_A_TOKEN:
        return None


def subject_of(token: str) -> str:
    """Whose token it is by its own word; "" if it does not say. Nothing is verified."""
    try:
        sub: Any = shown(token.split(".")[1]).get("sub")
    except NOT_A_TOKEN:
        return ""
    return sub if isinstance(sub, str) else ""


def has_claims(token: str) -> bool:
    """Whether there is a JSON object in it where a token's claims are. Nothing is verified."""
    try:
        return bool(shown(token.split(".")[1]))
    except NOT_A_TOKEN:
        return False


def bytes_part(part: str) -> bytes:
    """base64url, which has neither + nor /; Python's decoder would take them."""
    if "+" in part or "/" in part:
        raise ValueError("no base64url")
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)


def shown(part: str) -> dict[str, Any]:
    """A part of a token for people, even if it breaks a rule of the gateway's."""
    value = json.loads(bytes_part(part))
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def is_date(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
