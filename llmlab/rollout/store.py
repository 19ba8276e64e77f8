"""Rollouts in the delivery database: a change of one, of the traffic that it wants, and the
entries of the ledger that tell of it are one transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from llmlab.errors import LlmlabError, UsageError, unreadable
from llmlab.lab import Lab
from llmlab.ledger import chain
from llmlab.ledger.store import FILE, Store, change_in, traffic_in
from llmlab.names import SUMMARIZE
from llmlab.rollout.evidence import Evidence
from llmlab.rollout.routes import traffic_of
from llmlab.rollout.state import Judged, Outcome, Phase, Rollout
from llmlab.traffic import Traffic

STATE = "rollout"  # the row that says whether one is unfinished; supervisors look at it as well
CONTROLLER = "controller"  # who, in the ledger, where nobody did it


@dataclass(frozen=True)
class Kept:
    """A rollout and what is known of it."""

    rollout: Rollout
    evidence: Evidence


class Rollouts:
    """The rollouts of one lab. Any number of processes may use it at once."""

    def __init__(self, lab: Lab) -> None:
        self._store = Store(lab)

    def traffic(self) -> Traffic:
        return self._store.traffic()

    def unfinished(self, route: str = "") -> Kept | None:
        """The rollout that is under way on a route, which has one at most.

        Args:
            route: "" for the only one that there is.

        Raises:
            UsageError: there are several, and no route was named.
        """
        with self._store.database.reading() as connection:
            numbers = _unfinished_in(connection)
            if not route and len(numbers) > 1:
                raise UsageError(
                    f"rollouts are under way on {' and '.join(numbers)}",
                    fix=f"name one of them: --route {next(iter(numbers))}",
                )
            number = numbers.get(route or next(iter(numbers), ""))
            return _kept(connection, number) if number else None

    def routes(self) -> list[str]:
        """Those on which a rollout is under way."""
        with self._store.database.reading() as connection:
            return list(_unfinished_in(connection))

    def needed(self) -> set[str]:
        """The deployments that rollouts name which are under way."""
        with self._store.database.reading() as connection:
            return _needed_in(connection, 0)

    def get(self, number: int) -> Kept:
        """Raises UsageError: there is no such rollout."""
        with self._store.database.reading() as connection:
            return _kept(connection, number)

    def last(self, route: str = "") -> Kept | None:
        """The newest, of all or of a route; None if there was none yet."""
        with self._store.database.reading() as connection:
            found = [one for one in _all(connection) if route in ("", one.rollout.route)]
            return found[-1] if found else None

    def current(self, route: str = "") -> Kept | None:
        """The one that is under way, else the newest."""
        return self.unfinished(route) or self.last(route)

    def history(self) -> list[Rollout]:
        """All of them, the oldest first."""
        with self._store.database.reading() as connection:
            return [one.rollout for one in _all(connection)]

    def create(self, make: Callable[[int, Traffic, list[Rollout]], Rollout]) -> Rollout:
        """Begin a rollout.

        Args:
            make: from its number, the traffic and the history to the rollout. Raise to refuse.

        Raises:
            UsageError: another one is under way on its route.
        """
        with self._store.writing() as connection:
            history = [one.rollout for one in _all(connection)]
            number = max((one.number for one in history), default=0) + 1
            rollout = make(number, traffic_in(connection), history)
            if under_way := _unfinished_in(connection).get(rollout.route):
                raise _under_way(next(one for one in history if one.number == under_way))
            _write(connection, Kept(rollout, Evidence.of(rollout)))
            what = {
                "of": rollout.kind, "route": rollout.route,
                "stable": rollout.stable.deployment, "candidates": _models(rollout),
            }  # fmt: skip
            _tell(connection, "started", rollout, what, rollout.why, rollout.who)
            return rollout

    def change(
        self,
        number: int,
        what: str,
        change: Callable[[Rollout], Rollout],
        *,
        evidence: Evidence | None = None,
        why: str = "",
        who: str = "",
    ) -> Rollout:
        """Take a rollout on, from where it is by now.

        Args:
            what: the verb or the event, for the ledger.
            change: raise to refuse.
            evidence: what is known of it from now on; only the controller has any.
        """
        with self._store.writing() as connection:
            kept = _kept(connection, number)
            before, after = kept.rollout, change(kept.rollout)
            _write(connection, Kept(after, evidence or kept.evidence))
            judged = [one for one in after.judged if one not in before.judged]
            for one in judged:
                verdict = {"rollout": number, "step": one.step, **asdict(one.verdict)}
                chain.append(connection, "verdict", verdict, one.verdict.reason, who=who)
            if _place(before) != _place(after):
                reason = why or after.ending or _because(before, after, judged)
                _tell(connection, what, after, {}, reason, who)
            return after


def _because(before: Rollout, after: Rollout, judged: Sequence[Judged]) -> str:
    """What a verdict had to do with a change that nobody asked for."""
    if not judged:
        return ""
    last = judged[-1]
    if after.setbacks > before.setbacks:
        return last.verdict.broke
    return f"step {last.step} passed" if last.verdict.outcome is Outcome.PASS else ""


def _place(rollout: Rollout) -> tuple[object, ...]:
    return rollout.phase, rollout.step, rollout.paused, rollout.promoted


def _tell(
    connection: sqlite3.Connection,
    event: str,
    rollout: Rollout,
    more: dict[str, Any],
    why: str,
    who: str,
) -> None:
    """Write down what happened, and the traffic that is wanted from now on."""
    told = {
        "rollout": rollout.number, "event": event, "phase": rollout.phase, "step": rollout.step,
        "percent": rollout.percent, **({"paused": rollout.paused} if rollout.paused else {}),
        **more,
    }  # fmt: skip
    chain.append(connection, "rollout", told, why, who=who)
    others = _needed_in(connection, rollout.number)
    change_in(
        connection, "route", {"rollout": rollout.number, "step": rollout.step},
        lambda traffic: traffic_of(rollout, traffic, others), why, who=who,
    )  # fmt: skip


def _write(connection: sqlite3.Connection, kept: Kept) -> None:
    rollout = kept.rollout
    document = {"rollout": rollout.as_json(), "evidence": kept.evidence.dump()}
    connection.execute(
        "INSERT INTO rollouts (number, document) VALUES (?, ?)"
        " ON CONFLICT (number) DO UPDATE SET document = excluded.document",
        (rollout.number, json.dumps(document, allow_nan=False)),
    )
    unfinished = _unfinished_in(connection)
    if rollout.over:
        unfinished.pop(rollout.route, None)
    else:
        unfinished[rollout.route] = rollout.number  # in the order in which they began
    state = {"unfinished": bool(unfinished), "number": rollout.number, "routes": unfinished}
    connection.execute(
        "INSERT INTO state (name, document) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET document = excluded.document",
        (STATE, json.dumps(state)),
    )


def _unfinished_in(connection: sqlite3.Connection) -> dict[str, int]:
    """{route: the number of the rollout that is under way}."""
    row = connection.execute("SELECT document FROM state WHERE name = ?", (STATE,)).fetchone()
    state = json.loads(row["document"]) if row else {}
    if "routes" in state:
        return {str(route): int(number) for route, number in state["routes"].items()}
    return {SUMMARIZE: int(state["number"])} if state.get("unfinished") else {}  # of before


def _needed_in(connection: sqlite3.Connection, but: int) -> set[str]:
    """The deployments of all rollouts that are under way, but for one of them."""
    numbers = [number for number in _unfinished_in(connection).values() if number != but]
    under_way = [_kept(connection, number).rollout for number in numbers]
    return {arm.deployment for one in under_way for arm in (one.stable, *one.arms)}


def _all(connection: sqlite3.Connection) -> Iterator[Kept]:
    for row in connection.execute("SELECT * FROM rollouts ORDER BY number"):
        yield _parsed(row["number"], row["document"])


def _kept(connection: sqlite3.Connection, number: int) -> Kept:
    row = connection.execute("SELECT * FROM rollouts WHERE number = ?", (number,)).fetchone()
    if row is None:
        raise UsageError(f"there is no rollout {number}", fix="llmlab rollout history")
    return _parsed(number, row["document"])


def _parsed(number: int, document: str) -> Kept:
    try:
        found = json.loads(document)
        rollout, known = Rollout.parse(found["rollout"]), found["evidence"]
        # Before callers were told apart it was of another kind: what comes from now on counts.
        of_today = "subjects" in known
        return Kept(rollout, Evidence.parse(known) if of_today else Evidence.of(rollout))
    except (ValueError, KeyError, TypeError) as error:
        raise LlmlabError(
            f"what is written down of rollout {number} cannot be read: {unreadable(error)}",
            fix=f"move .llmlab/{FILE} away; llmlab up then starts from configs/lab.toml",
        ) from error


def _under_way(rollout: Rollout) -> UsageError:
    phase = "paused" if rollout.phase is Phase.PAUSED else str(rollout.phase)
    return UsageError(
        f"rollout {rollout.number} ({rollout.kind} of {rollout.target}) is under way, {phase}, "
        f"and the route {rollout.route} has one at a time",
        fix="llmlab rollout status waits for its end; llmlab rollout abort ends it now",
    )


def _models(rollout: Rollout) -> dict[str, str]:
    return {one.deployment: one.model for one in rollout.arms}
