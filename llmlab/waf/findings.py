"""What the WAF has found: its log, line by line. What matched stands in there, and is not shown."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

OURS = range(200_000, 200_200)  # ids of rules about what is done with a score, see rules.py
_PLACE = re.compile(
    r"(?:found within|against variable) [`'\"]?((?:REQUEST_|ARGS|FILES|QUERY|XML|TX|MATCHED)[A-Z_]*"
    r"(?::[A-Za-z0-9_.\-*]{1,80})?)"
)


@dataclass(frozen=True)
class Rule:
    """A rule that matched. ``place``: in what, such as ARGS:json.metadata.note; "" where the log
    does not say."""

    id: str
    said: str
    place: str


@dataclass(frozen=True)
class Found:
    """A request in which something was found. ``at``: as the log says it. ``status``: 302 for a
    finding, 400 and 413 for what could not be looked at."""

    at: str
    request_id: str
    method: str
    path: str
    status: int
    rules: tuple[Rule, ...]


def read(line: str) -> Found | None:
    """One line of the log; None for one that tells of no finding."""
    try:
        told = json.loads(line)["transaction"]
        request = told["request"]
        return Found(
            at=str(told["time_stamp"]), request_id=str(told["unique_id"]),
            method=str(request["method"]), path=str(request["uri"]).partition("?")[0],
            status=int(told["response"]["http_code"]),
            rules=tuple(_rule(one) for one in told["messages"]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError):
        return None


def _rule(told: dict[str, object]) -> Rule:
    details = told["details"]
    assert isinstance(details, dict)
    where = _PLACE.search(str(details.get("data", ""))) or _PLACE.search(str(details.get("match")))
    return Rule(str(details["ruleId"]), str(told["message"]), where[1] if where else "")


def told_of(line: str) -> str:
    """A line of the log as a person reads it: without what matched, and without the query. Any
    other line as it is."""
    found = read(line)
    return shown(found) if found else line


def shown(found: Found) -> str:
    rules = [one for one in found.rules if not (one.id.isdecimal() and int(one.id) in OURS)]
    said = "; ".join(
        f"{one.id} {one.said}" + (f" in {one.place}" if one.place else "")
        for one in rules or found.rules
    )
    return f"{found.at}  {found.request_id or '-'}  {found.method} {found.path}  {said}"
