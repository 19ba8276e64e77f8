"""Everything that is written down of one rollout, for those who look at it later."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypedDict

from llmlab.errors import UsageError
from llmlab.ledger.chain import Entry
from llmlab.ledger.store import Store
from llmlab.rollout.state import Kind, Rollout
from llmlab.rollout.store import Rollouts
from llmlab.rollout.trail import Moment
from llmlab.traffic import Traffic

BESIDE = ("drill", "deployment")  # kinds of entries that may say why something happened


class ReportDocument(TypedDict):
    """A rollout, and what is written down of how it went.

    Args:
        moments: how the evidence went; none of a rollout that was judged before they were kept.
        entries: of the ledger: its own, and drills and changes of its deployments meanwhile.
    """

    rollout: Rollout
    moments: list[Moment]
    entries: list[Entry]


@dataclass(frozen=True)
class Shares:
    """From when on the gateway was to give its deployments so many percent. ``at``: seconds since
    1970."""

    at: float
    percent: dict[str, float]


@dataclass(frozen=True)
class Report:
    """Args:
    moments: how the evidence went, the oldest first.
    entries: of the ledger, the oldest first.
    now: seconds since 1970.
    """

    rollout: Rollout
    moments: tuple[Moment, ...]
    entries: tuple[Entry, ...]
    now: float

    @property
    def took(self) -> float:
        """Seconds, until now if it is not over."""
        return max(0.0, (self.rollout.ended or self.now) - self.rollout.created)

    def shares(self) -> Iterator[Shares]:
        """What the routes were, by its entries."""
        one = self.rollout
        for entry in self.entries:
            if entry.kind != "route":
                continue
            try:
                traffic = Traffic.parse(json.dumps(entry.document["traffic"]))
            except (KeyError, ValueError):  # of another version; the table of entries has it
                continue
            route = traffic.route(one.route)
            percent = route.weights(one.configured)
            if one.kind is Kind.SHADOW:
                copied = route.shadow.percent if route.shadow else 0.0
                percent = {one.candidate.deployment: copied}
            yield Shares(moment_of(entry), percent)

    def as_json(self) -> dict[str, Any]:
        return {
            "rollout": self.rollout.as_json(),
            "moments": [asdict(one) for one in self.moments],
            "entries": [one.as_json() for one in self.entries],
        }


def report(
    rollouts: Rollouts, store: Store, number: int | None, now: float, route: str = ""
) -> Report:
    """Args:
    number: of the rollout; None: the one that is under way, or the last one.
    route: whose, if no number says it.

    Raises:
        UsageError: there is no such rollout, or none at all.
    """
    kept = rollouts.current(route) if number is None else rollouts.get(number)
    if kept is None:
        raise UsageError("there was no rollout yet", fix="llmlab rollout start canary MODEL")
    one = kept.rollout
    entries = store.entries(about={"rollout": one.number})
    for name in {one.stable.deployment, *(arm.deployment for arm in one.arms)}:
        for kind in BESIDE:
            entries += [
                entry for entry in store.entries(kind=kind, about={"deployment": name})
                if one.created <= moment_of(entry) <= (one.ended or now)
            ]  # fmt: skip
    by_number = {entry.seq: entry for entry in entries}
    ordered = tuple(by_number[seq] for seq in sorted(by_number))
    return Report(one, tuple(kept.evidence.trail.moments), ordered, now)


def moment_of(entry: Entry) -> float:
    """Seconds since 1970."""
    return datetime.fromisoformat(entry.at).timestamp()
