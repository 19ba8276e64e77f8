"""For whom a flag is on. Pure, and as the gateway has it: a test holds them against each other.

A flag is on for whoever its audience names, by a claim of the token; of the others, for a share
that is a function of the flag's name and of who asks, and of nothing else: raising the share
takes it from nobody.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from llmlab.flags.defining import parse_audience
from llmlab.flags.split import hundredths, position, side
from llmlab.traffic import Flag

SUBJECT = "sub"


@dataclass(frozen=True)
class Evaluated:
    """Whether a flag is on for somebody, and why.

    ``rule`` audience: a claim names them; share: by their place in the share; nobody: the flag
    is on for nobody.
    """

    flag: str
    on: bool
    rule: Literal["audience", "share", "nobody"]
    why: str


class FlagExplained(TypedDict):
    """Args:
    rule: audience: a claim names the subject; share: by its place in the share; nobody.
    why: in one sentence.
    claims: that it was evaluated for.
    """

    flag: str
    on: bool
    rule: Literal["audience", "share", "nobody"]
    why: str
    claims: dict[str, Any]


def explained(flag: Flag, claims: Mapping[str, Any]) -> FlagExplained:
    """Whether it is on for somebody, and why, as a document."""
    found = evaluate(flag, claims)
    return {"flag": found.flag, "on": found.on, "rule": found.rule, "why": found.why,
            "claims": dict(claims)}  # fmt: skip


def claimed(subject: str, given: Sequence[str]) -> dict[str, str]:
    """The claims of a token.

    Args:
        given: further ones, CLAIM=VALUE each.

    Raises:
        UsageError: one is anything else.
    """
    return dict(parse_audience(given)) | {SUBJECT: subject}


def evaluate(flag: Flag, claims: Mapping[str, Any], *, visitor: str = "") -> Evaluated:
    """Whether a flag is on for a request.

    Args:
        claims: of its token, which is valid; none for a request without one.
        visitor: who it is from if there is no subject: the cookie ``llmlab``, else the address.
    """
    for claim, value in flag.audience:
        if claim_text(claims.get(claim)) == value:
            return Evaluated(flag.name, True, "audience", f"its audience names {claim}={value}")
    if not hundredths(flag.percent):
        others = ", and its audience does not name them" if flag.audience else ""
        return Evaluated(flag.name, False, "nobody", f"its share is 0 %{others}")
    who = claim_text(claims.get(SUBJECT)) or visitor
    key = share_key(flag.name, who)
    on = side(key, [flag.percent]) == 0
    relation = "within" if on else "beyond"
    why = f"{who} stands at {position(key):.2f} %, {relation} its share of {flag.percent:g} %"
    return Evaluated(flag.name, on, "share", why)


def share_key(flag: str, who: str) -> str:
    """What is hashed to find whether somebody is in a flag's share."""
    return f"{flag}:{who}"


def claim_text(value: Any) -> str:
    """A claim as the gateway compares it; "" for one that is not there, and for lists and
    objects, which it does not look at."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return _real(value)
    return json.dumps(value) if isinstance(value, bool | int) else ""


def _real(value: float) -> str:
    """As Jansson writes it, in which the gateway's module has its claims."""
    text, exponent, power = f"{value:.17g}".partition("e")
    if exponent:
        return f"{text}e{int(power)}"
    return text if "." in text else f"{text}.0"


def preset(flags: Iterable[Flag], on: Mapping[str, bool]) -> dict[str, Any]:
    """The decoding defaults of a request, parameter by parameter: the first flag that is on and
    says anything of it."""
    found: dict[str, Any] = {}
    for flag in flags:
        if on[flag.name]:
            found = {**flag.decoding, **found}
    return found
