"""Which claims of a token the traffic looks at, and the variables that hold them."""

from __future__ import annotations

import hashlib
import re

from llmlab.gateway.quoting import checked
from llmlab.traffic import Traffic

SUBJECT = "sub"


def used_claims(traffic: Traffic) -> list[str]:
    """The claims by which requests are routed, or flags are on; without the subject, which
    has its variable anyway."""
    names = {claim for flag in traffic.flags for claim, _ in flag.audience}
    for route in traffic.routes.values():
        names |= {one.name for one in route.matches if one.kind == "claim"}
        if route.split and route.split.by.startswith("claim:"):
            names.add(route.split.by.partition(":")[2])
    return sorted({checked("claim", name) for name in names} - {SUBJECT})


def claim_variable(name: str) -> str:
    """The variable with a claim of a token that was found valid; empty for any other token."""
    return "$lab_subject" if name == SUBJECT else f"$lab_claim_{_fitting(name)}"


def as_sent(name: str) -> tuple[str, list[str]]:
    """(variable with a claim as the token says it, lines that define it). NGINX's own
    variables know no capitals and signs."""
    if _fitting(name) == name:
        return f"$jwt_claim_{name}", []
    variable = f"$lab_odd_claim_{_fitting(name)}"
    return variable, [f'auth_jwt_claim_set {variable} "{name}";']


def _fitting(name: str) -> str:
    """The name itself, or, where it cannot be a part of a variable's, a digest of it."""
    plain = re.fullmatch(r"[a-z0-9_]{1,32}", name) and not re.fullmatch(r"x[0-9a-f]{8}", name)
    return name if plain else f"x{hashlib.sha256(name.encode()).hexdigest()[:8]}"
