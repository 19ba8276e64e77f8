"""What a request was charged, as its line in the log tells, or a later one as well."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llmlab.config.budgets import MILLIONTHS

# A gateway stamps both lines by one clock, to the millisecond.
EARLIER = 0.01  # seconds

Line = Mapping[str, Any]
Key = tuple[str, str]  # a request's id, and its subject


@dataclass(frozen=True)
class Charged:
    """Tokens, and their ``cost`` by the prices in lab.toml. ``settled``: whether a model has
    counted them to the end; else they are what was reserved, or at most used."""

    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    settled: bool = True


class Settlements:
    """Lines that say by how much others are to be changed: what was used after all, of a request
    whose line says what was reserved. Each belongs to one of them at most.

    See budgets.js, and ``llmlab.usage.lines``.
    """

    def __init__(self, lines: Iterable[Line]) -> None:
        self._free: dict[Key, list[Line]] = {}
        self.taken: list[Line] = []  # those that were some request's
        for line in lines:
            self._free.setdefault(_settled_by(line), []).append(line)

    def charged(self, line: Line) -> Charged | None:
        """Of a request's line; None where the gateway tells nothing of tokens."""
        if "settled" not in line:
            return None
        known = [_counted(line)]
        if not known[0][3] and (later := self._of(line)):
            known.append(_counted(later))
        tokens_in, tokens_out, cost = (sum(one[place] for one in known) for place in range(3))
        return Charged(tokens_in, tokens_out, cost / MILLIONTHS, bool(known[-1][3]))

    def _of(self, line: Line) -> Line | None:
        asked = _asked_by(line)
        at = float(line.get("at", 0.0)) - EARLIER
        there = [one for one in self._free.get(asked, []) if float(one["at"]) >= at]
        if not there:
            return None
        nearest = min(there, key=lambda one: float(one["at"]))
        self._free[asked].remove(nearest)
        self.taken.append(nearest)
        return nearest


class Late:
    """Settlements of a log that is followed, until it is known whose they are. What has been given
    to no request that is wanted by the next look, nobody asks for: so they do not become more and
    more.
    """

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[float, Key]] = {}  # by their lines; one may be read twice

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, text: bytes, line: Line) -> None:
        """
        Args:
            line: what the text says, a settlement.
        """
        self._kept[text] = float(line["at"]), _settled_by(line)

    def of(self, requests: Iterable[Line]) -> Settlements:
        asked = {_asked_by(one) for one in requests}
        return Settlements(
            json.loads(text) for text, (_, whose) in self._kept.items() if whose in asked
        )

    def forget(self, given: Settlements, before: float) -> None:
        """All that stand before a moment, but for those that were given to a request."""
        stay = {(float(one["at"]), _settled_by(one)) for one in given.taken}
        self._kept = {text: one for text, one in self._kept.items()
                      if one[0] >= before or one in stay}  # fmt: skip


def is_settlement(line: Line) -> bool:
    try:
        str(line["settles"]), str(line["subject"]), float(line["at"]), _counted(line)
    except (ValueError, KeyError, TypeError):
        return False
    return True


def _asked_by(line: Line) -> Key:
    return str(line["request_id"]), str(line.get("subject", ""))


def _settled_by(line: Line) -> Key:
    return str(line["settles"]), str(line["subject"])


def _counted(line: Line) -> tuple[int, int, int, int]:
    return (
        int(line.get("tokens_in", 0)), int(line.get("tokens_out", 0)), int(line.get("cost", 0)),
        int(line["settled"]),
    )  # fmt: skip
