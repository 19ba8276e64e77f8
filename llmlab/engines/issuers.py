"""What keeps the keys of a lab's identity providers, as one of its processes, and how those are."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from llmlab.auth import KeyStore
from llmlab.config import Config
from llmlab.config.auth import Auth
from llmlab.engines.base import Say
from llmlab.engines.local.supervisor import Supervisor
from llmlab.engines.local.supervisor_conf import Program
from llmlab.engines.record import Record
from llmlab.issuers import kept as keeping
from llmlab.issuers.status import IssuerStatus, status_of, warning
from llmlab.issuers.trust import trust_of
from llmlab.lab import Lab

NAME = "issuers"
FIRST = 5.0  # seconds that `up` waits for keys that it never had


def issuer_programs(lab: Lab, config: Config) -> list[Program]:
    """The process that keeps their keys, where there are providers."""
    command = (sys.executable, "-P", "-m", "llmlab.engines.issuer_keys", str(lab.root))
    return [Program(NAME, command)] if config.auth.issuers else []


def fetch_first(lab: Lab, auth: Auth, say: Say) -> None:
    """Have keys of those of whom none are kept, as far as they answer soon; so that a lab that is
    up takes their tokens. Whatever goes wrong is kept, for `status` to tell."""
    from llmlab.engines.issuer_keys import fetch_all, settled
    from llmlab.issuers.fetching import fetch

    soon = time.time() + FIRST  # what ends until then is of no use to a lab that comes up
    new = [one for one in auth.issuers if not keeping.read(lab, one).trusted(auth, soon)]
    if new:
        say(f"fetching the keys of {', '.join(one.name for one in new)}")
    for one, outcome in fetch_all(
        new, lambda issuer: fetch(issuer, lab.root, deadline=FIRST), patience=FIRST + 1
    ):
        keeping.write(lab, one, settled(keeping.read(lab, one), outcome, auth, time.time()))


@dataclass(frozen=True)
class IssuersStatus:
    """All of them. ``healthy`` if somebody keeps their keys, and there are keys of each."""

    issuers: tuple[IssuerStatus, ...] = ()
    healthy: bool = True
    warnings: tuple[str, ...] = ()


def issuers_status(lab: Lab) -> IssuersStatus:
    """Of a lab that is up."""
    record = Record.read(lab)
    auth = record.plan().config.auth if record else Auth()
    if not auth.issuers:
        return IssuersStatus()
    now = time.time()
    trust = trust_of(lab, auth, KeyStore(lab.keys_file).read().kids, now)
    found = tuple(status_of(one, keeping.read(lab, one), trust, now) for one in auth.issuers)
    warnings = [warning(one) for one in found if one.error or one.state == "refused"]
    process = Supervisor(lab).state(NAME)
    watched = process.state in ("RUNNING", "STARTING")
    if not watched:
        warnings.append(
            "nobody keeps the keys of identity providers, and their tokens will be refused\n"
            f"Fix: llmlab up; llmlab logs {NAME}"
        )
    healthy = watched and all(one.state != "refused" for one in found)
    return IssuersStatus(found, healthy, tuple(warnings))
