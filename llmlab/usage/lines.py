"""What a line of the gateway's log says of the tokens that a request has used.

A request has one line. Where that says what was reserved (``settled`` 0), a second one may follow,
with the difference to what was really used: see budgets.js. So sums are right whenever they are
made.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

REFUSED = 429
LARGEST = 1 << 53  # what the gateway's scripts can count
SURROGATE = re.compile("[\ud800-\udfff]")  # JSON may spell half a character, which no text has


@dataclass(frozen=True)
class Used:
    """Args:
    at: seconds since 1970.
    deployment: who was asked; "" where a budget has refused it.
    route: the public name that was asked for; "" for a deployment's own.
    claims: those that budgets are by, {name: value} as JSON.
    requests, refused: 1 or 0.
    estimated: 1 for one whose numbers are not what was counted; -1 where that is known now.
    cost: in millionths.
    """

    at: float
    subject: str
    deployment: str
    route: str
    claims: str
    requests: int
    refused: int
    estimated: int
    tokens_in: int
    tokens_out: int
    cost: int


def read(line: str) -> Used | None:
    """None for a line that tells of no request to a model."""
    try:
        told = json.loads(line)
        late = "settles" in told
        asked = late or (told["method"] == "POST" and bool(told["deployment"]))
        refused = not asked and told["status"] == REFUSED and bool(told["over"])
        if not asked and not refused:
            return None
        claims = told["claims"] if late else json.loads(told["claims"] or "{}")
        used = Used(
            at=float(told["at"]),
            subject=str(told["subject"]),
            deployment=str(told["deployment"]),
            route=str(told["route"]),
            claims=json.dumps(claims, sort_keys=True, ensure_ascii=False),
            requests=int(asked and not late),
            refused=int(refused),
            estimated=_estimated(late, int(told["settled"])),
            tokens_in=int(told["tokens_in"]),
            tokens_out=int(told["tokens_out"]),
            cost=int(told["cost"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
    return used if _can_be_kept(used) else None


def _can_be_kept(used: Used) -> bool:
    """One line that cannot be is not to keep all those behind it from being added up."""
    named = used.subject + used.deployment + used.route + used.claims
    numbers = used.at, used.tokens_in, used.tokens_out, used.cost
    whole = all(-LARGEST < one < LARGEST for one in numbers)
    return whole and not SURROGATE.search(named)


def _estimated(late: bool, settled: int) -> int:
    return -settled if late else 1 - settled
