"""How much of each budget is used and left, by what the gateway has counted. Pure.

A count's key is the budget, the limit, when its window began, and the holder: see budgets.js.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

from llmlab.config.budgets import LIMITS, MILLIONTHS, Budget, Unit, Window

WINDOWS = {"minute": timedelta(minutes=1), "day": timedelta(days=1)}
NEAREST = 5  # holders that are told of each limit
HASHED = "sha256:"  # what a holder whose name is too long for a key is counted by


@dataclass(frozen=True)
class Holder:
    """Who has used something in a window that is not over, reservations included.

    Args:
        name: a subject, or the value of a claim; "" for all tokens without it.
        used, left: in the unit of the limit.
        percent: of the limit; more than 100 where nobody is refused.
    """

    name: str
    used: float
    left: float
    percent: float


@dataclass(frozen=True)
class LimitStanding:
    """Args:
    limit: its key in lab.toml.
    most: of each holder; money as it is written there.
    resets: when the next window begins; in UTC, ISO 8601.
    holders: how many have used something in this one.
    nearest: those who have used most of it.
    """

    limit: str
    unit: Unit
    window: Window
    most: float
    resets: str
    holders: int
    nearest: tuple[Holder, ...]


@dataclass(frozen=True)
class BudgetStanding:
    """A budget of the running lab. ``who``: only these; none for each one."""

    name: str
    by: str
    who: tuple[str, ...]
    shadow: bool
    currency: str
    limits: tuple[LimitStanding, ...]


def standings(budgets: Sequence[Budget], counts: str, now: float) -> tuple[BudgetStanding, ...]:
    """
    Args:
        counts: the file of NGINX's counts; "" for none.
        now: seconds since 1970.
    """
    counted = _counted(counts)
    at = datetime.fromtimestamp(now, UTC)
    return tuple(
        BudgetStanding(
            one.called, one.by, tuple(one.who), one.shadow, one.currency,
            tuple(_standing(one, key, most, counted, at) for key, most in one.limits.items()),
        )
        for one in budgets
    )  # fmt: skip


def window_of(window: Window, at: datetime) -> tuple[datetime, datetime]:
    """When it began, and when the next one does."""
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    if window == "month":
        first = day.replace(day=1)
        return first, (first + timedelta(days=32)).replace(day=1)
    begins = day if window == "day" else at.replace(second=0, microsecond=0)
    return begins, begins + WINDOWS[window]


def _standing(
    budget: Budget, key: str, most: int, counted: Mapping[str, Mapping[str, int]], at: datetime
) -> LimitStanding:
    unit, window = LIMITS[key]
    begins, resets = window_of(window, at)
    used = counted.get(f"{budget.called} {key} {round(begins.timestamp() * 1000)}", {})
    found = sorted(((amount, name) for name, amount in used.items() if amount > 0), reverse=True)
    scale = MILLIONTHS if unit == "money" else 1
    return LimitStanding(
        key, unit, window, most / scale, resets.isoformat(), len(found),
        tuple(
            Holder(name, amount / scale, max(0, most - amount) / scale, 100 * amount / most)
            for amount, name in found[:NEAREST]
        ),
    )  # fmt: skip


def _counted(text: str) -> dict[str, dict[str, int]]:
    """{what a key begins with: {holder: amount}}; what is no count is left out."""
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    try:
        state = json.loads(text or "{}")
    except ValueError:  # NGINX is writing it
        return {}
    for key, one in state.items() if isinstance(state, dict) else ():
        begin, _, word = key.rpartition(" ")
        value = one.get("value") if isinstance(one, dict) else None
        if isinstance(value, int | float):
            found[begin][word if word.startswith(HASHED) else unquote(word)] = int(value)
    return found
