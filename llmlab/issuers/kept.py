"""What is kept of each provider in .llmlab/issuers/: its keys, so that a restart while it is away
costs nobody anything, and how the last attempts went."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from llmlab.config.auth import Auth, Issuer
from llmlab.files import write_atomically
from llmlab.issuers.jwks import Fetched, PublicKey
from llmlab.lab import Lab, private_folder

SHORTEST, LONGEST = 300, 86_400  # seconds that keys may be good for by a provider's own word
CLOCKS = 300.0  # seconds by which this machine's clock may have been set back
FIRST_RETRY, LAST_RETRY = 30.0, 600.0  # seconds after a failure; doubled each time


@dataclass(frozen=True)
class Kept:
    """Of one provider. Times in seconds since 1970, 0 for never.

    Args:
        of: which configuration it is of: under another one its keys are not used.
        until: when its keys are given up, unless they are fetched again. It is moved on only once
            half of that time is over, for the gateway has to be told.
        due: when they are fetched again.
        error: of the last attempt; "" if that was a success.
    """

    of: str
    keys: tuple[PublicKey, ...] = ()
    dropped: tuple[str, ...] = ()
    fetched: float = 0.0
    until: float = 0.0
    tried: float = 0.0
    due: float = 0.0
    failures: int = 0
    error: str = ""

    def end(self, auth: Auth) -> float:
        """When its keys are given up, by what is configured by now."""
        return min(self.until, self.fetched + auth.max_stale)

    def trusted(self, auth: Auth, now: float) -> bool:
        """Whether its keys may verify a token. Those that were fetched later than now were so by
        another clock, which says nothing of their age."""
        return bool(self.keys) and self.fetched <= now + CLOCKS and now < self.end(auth)

    def after(self, fetched: Fetched, auth: Auth, now: float) -> Kept:
        """Once they were fetched."""
        accepted, good_for = fetched.accepted, fetched.good_for
        wait = auth.refresh if good_for is None else min(max(good_for, SHORTEST), LONGEST)
        # Fetched once more before they are given up, whatever the provider says.
        wait = min(wait, max(SHORTEST, auth.max_stale // 2))
        until = self.until
        if accepted.keys != self.keys or not now + auth.max_stale / 2 < until:
            until = now + auth.max_stale
        return replace(
            self, keys=accepted.keys, dropped=accepted.dropped, fetched=now, tried=now,
            due=now + wait, until=min(until, now + auth.max_stale), failures=0, error="",
        )  # fmt: skip

    def after_failure(self, error: str, now: float) -> Kept:
        wait = min(FIRST_RETRY * 2 ** min(self.failures, 10), LAST_RETRY)
        return replace(self, tried=now, due=now + wait, failures=self.failures + 1, error=error)


def identity(issuer: Issuer) -> str:
    """A digest of what decides which keys are fetched, and which of them are taken."""
    said = [issuer.issuer, issuer.jwks_url, issuer.ca_file, sorted(issuer.algorithms)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def read(lab: Lab, issuer: Issuer) -> Kept:
    """What is kept of a provider; nothing where that is of another configuration, or damaged: then
    its keys are fetched."""
    nothing = Kept(identity(issuer))
    try:
        said = json.loads(_file(lab, issuer).read_text(encoding="utf-8"))
        keys = tuple(PublicKey(str(one["kid"]), dict(one["jwk"])) for one in said.pop("keys"))
        found = Kept(**{**said, "keys": keys, "dropped": tuple(said["dropped"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return nothing
    return found if found.of == nothing.of else nothing


def read_all(lab: Lab, issuers: Sequence[Issuer]) -> Mapping[str, Kept]:
    """{name of a provider: what is kept of it}."""
    return {one.name: read(lab, one) for one in issuers}


def write(lab: Lab, issuer: Issuer, kept: Kept) -> None:
    private_folder(lab.state)
    private_folder(_file(lab, issuer).parent)
    write_atomically(_file(lab, issuer), json.dumps(asdict(kept), indent=1) + "\n", mode=0o600)


def _file(lab: Lab, issuer: Issuer) -> Path:
    return lab.state / "issuers" / f"{issuer.name}.json"
