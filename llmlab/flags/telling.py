"""A flag in words."""

from __future__ import annotations

from llmlab.flags.defining import EVERYBODY
from llmlab.traffic import Flag


def told_who(flag: Flag) -> str:
    """For whom it is on."""
    who = [f"{claim}={value}" for claim, value in flag.audience]
    others = "of the others" if who else ""
    if flag.percent == EVERYBODY:
        return "everybody"
    if flag.percent:
        who.append(f"{flag.percent:g} % {others}".strip())
    return ", ".join(who) or "nobody"


def told_then(flag: Flag) -> str:
    """What it does then; "" for nothing of the gateway's."""
    parts = [f"to {flag.deployment}"] if flag.deployment else []
    parts += [f"{name}={value}" for name, value in flag.decoding.items()]
    return ", ".join(parts)
