"""What keeps the keys of a lab's identity providers: python -m llmlab.engines.issuer_keys LAB

Supervised for as long as a lab with providers is up. It fetches their keys before those are too
old, sooner where a token names a key that nobody has here, and has the gateway go by what changed.
While a provider is away its keys stay good for `auth.max_stale`; then its tokens are refused.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from llmlab.config.auth import Auth, Issuer
from llmlab.engines.choice import running_engine
from llmlab.engines.record import RUNNING, Record
from llmlab.errors import LlmlabError, UpstreamError
from llmlab.issuers import fetching, kept
from llmlab.issuers.jwks import Fetched, PublicKey
from llmlab.issuers.kept import Kept
from llmlab.lab import Lab
from llmlab.saying import say

TICK = 1.0  # seconds
RETRY = 5.0  # seconds until a gateway that did not take the keys is asked again
EAGER = 30.0  # seconds at least between two fetches for the sake of a key that nobody knows
FIELD = "unknown_key"  # of the gateway's log


Told = tuple[str, tuple[PublicKey, ...], float]  # a provider, its keys, and until when


class Place(Protocol):
    """Where the keys are kept, and who is to know of them."""

    def read(self, issuer: Issuer) -> Kept: ...

    def write(self, issuer: Issuer, kept: Kept) -> None: ...

    def fetch(self, issuer: Issuer) -> Fetched:
        """
        Raises:
            LlmlabError: it has no keys for us, now.
        """
        ...

    def reload(self) -> None:
        """Have the gateway go by what is kept.

        Raises:
            LlmlabError: it does not.
        """
        ...


@dataclass
class Keeper:
    """Of one lab. ``say`` takes what is worth a line in the log, as a document."""

    place: Place
    say: Callable[[dict[str, Any]], None]
    wanted: set[str] = field(default_factory=set)  # of whom somebody has named an unknown key
    taken: list[Told] | None = None  # what the gateway is known to go by
    retry_at: float = 0.0

    def tick(self, auth: Auth, unknown: Iterable[str], now: float) -> None:
        """Look after all of them once.

        Args:
            unknown: names of providers of whom a token names a key that is not known.
            now: seconds since 1970.
        """
        self.wanted |= set(unknown)  # until it may be asked: nobody may ever ask again
        due = [one for one in auth.issuers if self._is_due(one, now)]
        self.wanted -= {one.name for one in due}
        # All at once: one that keeps us waiting is to keep us from no other.
        for issuer, outcome in fetch_all(due, self.place.fetch):
            self._keep(issuer, outcome, auth, now)
        self._tell_gateway(auth, now)

    def _is_due(self, issuer: Issuer, now: float) -> bool:
        there = self.place.read(issuer)
        eager = issuer.name in self.wanted and now - there.tried >= EAGER
        # Whose clock was set back would wait for ever.
        return now >= there.due or eager or there.tried > now + EAGER

    def _keep(self, issuer: Issuer, outcome: Fetched | LlmlabError, auth: Auth, now: float) -> None:
        before = self.place.read(issuer)
        after = settled(before, outcome, auth, now)
        self.place.write(issuer, after)
        told = {"issuer": issuer.name}
        if isinstance(outcome, LlmlabError):
            self.say({
                "level": "warning", "message": f"the keys of {issuer.name}: {after.error}",
                "fix": outcome.fix, **told,
            })  # fmt: skip
        elif after.keys != before.keys or after.dropped != before.dropped or before.error:
            kids = [key.kid for key in after.keys]
            count = f"{len(kids)} key{'' if len(kids) == 1 else 's'}"
            self.say({"message": f"{issuer.name} has {count}", "kids": kids,
                      "left_out": list(after.dropped) or None, **told})  # fmt: skip

    def _tell_gateway(self, auth: Auth, now: float) -> None:
        there = [(one.name, self.place.read(one)) for one in auth.issuers]
        told = [(name, one.keys, one.end(auth)) for name, one in there if one.trusted(auth, now)]
        if told == self.taken or now < self.retry_at:
            return
        for name in {one[0] for one in self.taken or ()} - {one[0] for one in told}:
            said = f"the keys of {name} are gone, or too old; its tokens are refused from now on"
            self.say({"level": "warning", "message": said, "issuer": name})
        try:
            self.place.reload()
        except LlmlabError as error:
            self.retry_at = now + RETRY
            said = f"the gateway does not take the keys: {error.message}"
            self.say({"level": "warning", "message": said, "fix": error.fix})
        else:
            self.taken = told


def settled(before: Kept, outcome: Fetched | LlmlabError, auth: Auth, now: float) -> Kept:
    """What is kept after an attempt."""
    if isinstance(outcome, LlmlabError):
        return before.after_failure(fetching.told(outcome), now)
    return before.after(outcome, auth, now)


def fetch_all(
    issuers: Iterable[Issuer], fetch: Callable[[Issuer], Fetched],
    patience: float = fetching.DEADLINE + 2,
) -> list[tuple[Issuer, Fetched | LlmlabError]]:  # fmt: skip
    """Ask all of them at once; one that does not answer in time has failed.

    Args:
        patience: seconds.
    """
    outcomes: dict[str, Fetched | LlmlabError] = {}

    def ask(issuer: Issuer) -> None:
        try:
            outcomes[issuer.name] = fetch(issuer)
        except LlmlabError as error:
            outcomes[issuer.name] = error

    asked = list(issuers)
    # Daemons: one that trickles its answer for ever keeps nobody from ending.
    threads = [threading.Thread(target=ask, args=(one,), daemon=True) for one in asked]
    end = time.monotonic() + patience
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    late = fetching.late
    return [(one, outcomes.get(one.name) or late(one.jwks_url or one.issuer)) for one in asked]


def unknown_in(lines: Iterable[str]) -> set[str]:
    """Names of the providers of whom a refused token names a key that nobody has here."""
    found = set()
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            name, colon, _ = str(json.loads(line).get(FIELD, "")).partition(":")
            found |= {name} if colon else set()
    return found


class Running:
    """The lab that runs, under whichever engine."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._cursor = ""
        self._auth, self._written = Auth(), -1

    def auth(self) -> Auth:
        """As the lab was brought up last; read anew where that was since."""
        written = _written(self._lab.state / RUNNING)
        if written != self._written:
            record = Record.read(self._lab)
            self._auth = record.plan().config.auth if record else Auth()
            self._written = written
        return self._auth

    def unknown(self) -> set[str]:
        engine = running_engine(self._lab)
        if engine is None:
            return set()
        lines, self._cursor = engine.requests_since(self._cursor)
        return unknown_in(line for line in lines if f'"{FIELD}":""' not in line)

    def read(self, issuer: Issuer) -> Kept:
        return kept.read(self._lab, issuer)

    def write(self, issuer: Issuer, there: Kept) -> None:
        kept.write(self._lab, issuer, there)

    def fetch(self, issuer: Issuer) -> Fetched:
        return fetching.fetch(issuer, self._lab.root)

    def reload(self) -> None:
        engine = running_engine(self._lab)
        if engine is None:
            raise UpstreamError("the lab is not up yet", fix="llmlab up")
        engine.reload_keys()


def _written(file: Path) -> int:
    """When, in nanoseconds; 0 for no file."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def main() -> None:
    running = Running(Lab(Path(sys.argv[1])))
    keeper = Keeper(running, say)
    while True:
        start = time.monotonic()
        try:
            unknown = running.unknown()
        except (LlmlabError, OSError) as error:
            unknown = set()
            say({"level": "warning", "message": f"the gateway's log cannot be read: {error}"})
        try:
            keeper.tick(running.auth(), unknown, time.time())
        except OSError as error:
            say({"level": "error", "message": f"nothing can be kept: {error}"})
            time.sleep(RETRY)
        time.sleep(max(0.0, TICK - (time.monotonic() - start)))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
