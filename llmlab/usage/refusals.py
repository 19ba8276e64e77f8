"""Whom budgets have refused lately, or would have: by the gateway's log, of which each line is
read once."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from llmlab.usage.lines import REFUSED

KEPT = 20  # of each kind: a budget that only tells can have no true refusal forgotten
NOTHING = '"over":""'  # as nginx.conf writes it


@dataclass(frozen=True)
class Refusal:
    """A request that did not fit a budget.

    Args:
        at: seconds since 1970.
        limit: its key in lab.toml.
        refused: False for one that a budget let pass which only tells.
        path: that was asked.
    """

    at: float
    subject: str
    budget: str
    limit: str
    refused: bool
    path: str
    request_id: str


class Log(Protocol):
    """An engine's."""

    def requests_since(self, cursor: str, *, after: float = 0.0) -> tuple[list[str], str]: ...


@dataclass
class Refusals:
    """The newest ones of a log that grows. Threads may share it."""

    _cursor: str = "0"
    _refused: deque[Refusal] = field(default_factory=lambda: deque(maxlen=KEPT))
    _passed: deque[Refusal] = field(default_factory=lambda: deque(maxlen=KEPT))
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def newest(self, log: Log, after: float) -> tuple[Refusal, ...]:
        """Those refused, then those that were let pass, the newest first of each.

        Args:
            after: seconds since 1970; what is older is left out.
        """
        with self._turn:
            lines, self._cursor = log.requests_since(self._cursor, after=after)
            for one in refusals(lines):
                (self._refused if one.refused else self._passed).append(one)
            found = (*reversed(self._refused), *reversed(self._passed))
            return tuple(one for one in found if one.at >= after)


def refusals(lines: Iterable[str]) -> Iterable[Refusal]:
    """Those among the lines of a log."""
    for line in lines:
        if NOTHING not in line and (found := _read(line)):
            yield found


def _read(line: str) -> Refusal | None:
    try:
        told = json.loads(line)
        budget, _, limit = str(told["over"]).partition(" ")
        if not limit:
            return None
        return Refusal(
            float(told["at"]), str(told["subject"]), budget, limit,
            told["status"] == REFUSED and not told["deployment"], str(told["path"]),
            str(told["request_id"]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError):
        return None
