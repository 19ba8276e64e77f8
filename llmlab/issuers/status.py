"""How the keys of an identity provider are, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from llmlab.config.auth import Issuer
from llmlab.issuers.kept import Kept
from llmlab.issuers.trust import Trust


@dataclass(frozen=True)
class IssuerStatus:
    """An identity provider, as its keys are.

    Args:
        state: ok; stale (its keys are good, and could not be fetched anew); or refused (there are
            none, and so none of its tokens is valid).
        keys: ids of those that verify its tokens.
        age: seconds since they were fetched; None for never.
        until: when they are given up unless they are fetched again, UTC; "" for those that are.
        error: of the last attempt; "" if that was a success.
        left_out: keys of its own that are not used, and why.
    """

    name: str
    issuer: str
    state: str
    keys: tuple[str, ...] = ()
    age: float | None = None
    until: str = ""
    error: str = ""
    left_out: tuple[str, ...] = ()


def warning(one: IssuerStatus) -> str:
    """What is wrong with one that is not well, and a way out."""
    then = (
        "its tokens are refused"
        if one.state == "refused"
        else f"its keys are good until {one.until}"
    )
    why = one.error or "there is no key of it that can be used"
    return f"issuer {one.name}: {why}; {then}\nFix: llmlab doctor; llmlab logs issuers"


def status_of(issuer: Issuer, kept: Kept, trust: Trust, now: float) -> IssuerStatus:
    """
    Args:
        now: seconds since 1970.
    """
    trusted = next(one for one in trust.issuers if one.issuer.name == issuer.name)
    state = "ok" if trusted.keys and not kept.error else "stale" if trusted.keys else "refused"
    return IssuerStatus(
        issuer.name, issuer.issuer, state,
        keys=tuple(key.kid for key in trusted.keys),
        age=round(now - kept.fetched, 1) if kept.fetched else None,
        until=datetime.fromtimestamp(trusted.until, UTC).isoformat(timespec="seconds")
        .replace("+00:00", "Z") if trusted.keys else "",
        error=kept.error,
        left_out=(*kept.dropped, *trust.dropped.get(issuer.name, ())),
    )  # fmt: skip
