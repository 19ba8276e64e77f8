"""Whose key is whose: the lab's own keys and those of its identity providers, as the gateway goes
by them. A key of one never verifies a token of another, so each key id has one owner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llmlab.config.auth import Auth, Issuer
from llmlab.issuers import kept as keeping
from llmlab.issuers.jwks import PublicKey
from llmlab.issuers.kept import Kept
from llmlab.lab import Lab

MOST_KEYS = 64  # that NGINX's module reads of one file


@dataclass(frozen=True)
class Trusted:
    """A provider, and the keys by which its tokens are known. ``until``: seconds since 1970, when
    those are given up: from then on nothing of it is valid, whether or not anybody is left to take
    them out."""

    issuer: Issuer
    keys: tuple[PublicKey, ...] = ()
    until: float = 0.0


@dataclass(frozen=True)
class Trust:
    """
    Args:
        own: ids of the lab's own keys.
        dropped: {name of a provider: which of its keys are not used because of others}.
    """

    own: tuple[str, ...] = ()
    issuers: tuple[Trusted, ...] = ()
    dropped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def owner(self, kid: object) -> Trusted | None:
        """The provider whose key it is; None if it is the lab's, or nobody's."""
        return next((one for one in self.issuers if any(key.kid == kid for key in one.keys)), None)

    def of(self, iss: object) -> Trusted | None:
        """The provider whose name stands in the ``iss`` of a token."""
        return next((one for one in self.issuers if one.issuer.issuer == iss), None)

    @property
    def jwks(self) -> list[Mapping[str, str]]:
        """All keys of providers, for the gateway."""
        return [key.jwk for one in self.issuers for key in one.keys]


def trust(kids: Sequence[str], auth: Auth, kept: Mapping[str, Kept], now: float) -> Trust:
    """Who may verify what. The lab's own keys come first, then the providers in their order: whose
    key has an id that was there before, or comes too late for the gateway, is not used.

    Args:
        kids: ids of the lab's own keys.
        now: seconds since 1970.
    """
    taken = dict.fromkeys(kids, "this lab")
    issuers, dropped = [], {}
    for issuer in auth.issuers:
        found = kept.get(issuer.name, Kept(""))
        used, lost = [], []
        for key in found.keys if found.trusted(auth, now) else ():
            if key.kid in taken:
                lost.append(f"key {key.kid}: {taken[key.kid]} has one of that kid")
            elif len(taken) >= MOST_KEYS:
                lost.append(f"key {key.kid}: the gateway takes {MOST_KEYS} keys in all")
            else:
                taken[key.kid] = issuer.name
                used.append(key)
        issuers.append(Trusted(issuer, tuple(used), found.end(auth) if used else 0.0))
        if lost:
            dropped[issuer.name] = tuple(lost)
    return Trust(tuple(kids), tuple(issuers), dropped)


def trust_of(lab: Lab, auth: Auth, kids: Sequence[str], now: float) -> Trust:
    """As of what is kept in a lab."""
    return trust(kids, auth, keeping.read_all(lab, auth.issuers), now)
