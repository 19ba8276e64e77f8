"""Requests that are looked for by what the gateway's log says of them, the newest first.

Logs are read from their ends, and no further back than is needed: the newest of any kind are found
in one block. What is rare is looked for in all that is kept, 40 MB at most.
"""

from __future__ import annotations

import heapq
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmlab.answered import Answer
from llmlab.delivery.charging import Charged, Late, Settlements, is_settlement
from llmlab.errors import UsageError
from llmlab.observe.access import BROKEN, asked_by
from llmlab.rotation import LOG_BACKUPS

if TYPE_CHECKING:
    from llmlab.engines.base import Engine

BLOCK = 1 << 18  # bytes that are read at once
LONGEST_LINE = 1 << 20  # bytes; a longer one is none of the gateway's
# Several workers write one log, and the line of a request is written when it is over.
SLACK = 2.0  # seconds by which lines may be out of their order
MOST = 10_000  # requests that one search gives
STATUS = re.compile(r"[1-5](xx|\d\d)", re.ASCII)
# As the gateway begins its lines. Those of before it told milliseconds have long been rotated away.
TIME = re.compile(rb'\{"time":"[^"]*","at":([0-9]+(?:\.[0-9]+)?),')

Line = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What is looked for; "" for whatever it is.

    Args:
        request_id: the beginning of it.
        model: a deployment, or what its model calls itself.
        status: ``404``, or ``4xx`` for all of them. A stream that its model broke off counts as
            502, whatever its head has said.
        since: seconds since 1970.
        before: the place of a request: only those that are older.
        most: how many of them.

    Raises:
        UsageError: it is no status, or too many.
    """

    request_id: str = ""
    subject: str = ""
    model: str = ""
    status: str = ""
    route: str = ""
    since: float = 0.0
    before: tuple[float, str] | None = None
    most: int = 50

    def __post_init__(self) -> None:
        if self.status and not STATUS.fullmatch(self.status):
            raise UsageError(f"{self.status!r} is no status", fix="use 429, or 4xx for all of them")
        if not 0 < self.most <= MOST:
            raise UsageError(
                f"{self.most} requests cannot be looked for at once", fix=f"use 1 to {MOST}"
            )

    def is_met(self, line: Line) -> bool:
        if self.status:
            status = str(BROKEN if _is_broken(line) else line["status"])
            if status != self.status and f"{status[0]}xx" != self.status:
                return False
        return (
            line["request_id"].startswith(self.request_id)
            and (not self.subject or line.get("subject") == self.subject)
            and (not self.model or self.model in (line.get("deployment"), line.get("model")))
            and (not self.route or _asked_by(line)[1] == self.route)
        )

    def may_be_settled_by(self, late: Line) -> bool:
        """Whether a settlement can be one of a request that is wanted."""
        return str(late["settles"]).startswith(self.request_id) and (
            not self.subject or str(late["subject"]) == self.subject
        )

    @property
    def words(self) -> list[bytes]:
        """What a line holds for sure that meets it: by far most need not be parsed then."""
        named = (self.subject, self.model, self.route)
        # As the gateway writes them: what has to be escaped is left to the comparison.
        plain = [one for one in named if one.isprintable() and not set(one) & {'"', "\\"}]
        return [f'"{one}"'.encode() for one in plain if one] + [self.request_id.encode()]


@dataclass(frozen=True)
class LoggedRequest:
    """A request, as the gateway's log tells of it. ``at`` in UTC, ISO 8601, when it was over.

    ``deployment`` is "" where the gateway answered itself, and ``route`` where a deployment was
    asked for by its name. ``endpoint``: which of a route's addresses was meant, "" for any other
    one, such as ``/docs``. ``rule`` is how its deployment was chosen. ``seconds`` from the first
    byte of the request to the last one of its answer. ``broken``: its model broke off after the
    head of the answer. ``charged``: null where the gateway tells nothing of tokens. ``handed_on``:
    whose request it was, where another deployment has answered in its place. ``waf``: what the WAF
    has said, "" where it was not asked. ``over``: the budget and its limit that it did not fit.
    """

    request_id: str
    at: str
    subject: str
    method: str
    path: str
    endpoint: str
    status: int
    broken: bool
    deployment: str
    model: str
    rule: str
    route: str
    seconds: float
    cache: str
    charged: Charged | None
    handed_on: str
    waf: str
    over: str
    answer: Answer | None

    @property
    def place(self) -> tuple[float, str]:
        """Where it stands among all of them."""
        return datetime.fromisoformat(self.at).timestamp(), self.request_id


class Newest:
    """The newest lines that are wanted, of however many that are taken, in whatever order."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted, self._words = wanted, wanted.words
        self._kept: list[tuple[float, str, bytes]] = []  # a heap: the oldest of them first
        self._texts: set[bytes] = set()  # a line may be read twice while its log is rotated
        self._late, self._last = Late(), 0.0  # when the newest line of all was written
        self._is_over = False  # whether one was let go, because there were newer ones

    @property
    def has_older(self) -> bool:
        return self._is_over

    def take(self, text: bytes) -> bool:
        """Returns:
        Whether what was written before this line can matter.
        """
        if text.startswith(b'{"at"'):  # by this they begin, and no request's does
            if is_settlement(told := _json(text)) and float(told["at"]) >= self._oldest - SLACK:
                self._last = max(self._last, float(told["at"]))
                if self.wanted.may_be_settled_by(told):
                    self._late.take(text, told)
            return True
        at = _moment(text)
        if at is None:
            return True
        self._last = max(self._last, at)
        if self._is_in_time(at) and all(word in text for word in self._words):
            line = _parsed(text)
            if line and self.wanted.is_met(line):
                self._keep((at, line["request_id"], text))
        return at >= self._oldest - SLACK

    def requests(self) -> list[LoggedRequest]:
        """The newest first: of all that was logged by now, and more may be taken then.

        A request's settlement is written after it, but for the slack between workers.
        """
        kept = sorted(self._kept, reverse=True)
        lines = [line for _, _, text in kept if (line := _parsed(text))]
        late = self._late.of(lines)
        found = [_asked(line, late) for line in lines]
        self._late.forget(late, before=self._last - SLACK)
        return found

    @property
    def _oldest(self) -> float:
        """What is older than this is not wanted, or there are enough that are newer."""
        return max(self.wanted.since, self._kept[0][0] if self._is_over else 0.0)

    def _is_in_time(self, at: float) -> bool:
        before = self.wanted.before
        return at >= self._oldest and (before is None or at <= before[0])

    def _keep(self, entry: tuple[float, str, bytes]) -> None:
        before = self.wanted.before
        if entry[2] in self._texts or (before and entry[:2] >= before):
            return
        self._texts.add(entry[2])
        heapq.heappush(self._kept, entry)
        if len(self._kept) > self.wanted.most:
            self._texts.discard(heapq.heappop(self._kept)[2])
            self._is_over = True


def newest_in(logs: Iterable[Path], newest: Newest) -> None:
    """Take what files of one log have, each from its end.

    Args:
        logs: the newest first.
    """
    for log in logs:
        try:
            for text in backwards(log):
                if not newest.take(text):
                    break
        except FileNotFoundError:  # rotated away
            continue


def newest_of(engine: Engine, newest: Newest) -> None:
    """Take what the gateway's container has printed."""
    lines, _ = engine.requests_since("0", after=newest.wanted.since)
    for line in reversed(lines):
        if not newest.take(line.encode()):
            break


def files_of(log: Path) -> list[Path]:
    """What a log was rotated to as well, the newest first."""
    return [log, *(Path(f"{log}.{number}") for number in range(1, LOG_BACKUPS + 1))]


def backwards(log: Path) -> Iterator[bytes]:
    """The whole lines of a file, the last one first."""
    with log.open("rb") as file:
        start = file.seek(0, os.SEEK_END)
        rest = b""  # the end of a line whose beginning was not read yet
        whole = False  # what stands behind the last line feed is being written
        while start > 0:
            size = min(BLOCK, start)
            start = file.seek(start - size)
            head, *lines = (file.read(size) + rest).split(b"\n")
            if lines:
                if whole:
                    yield lines[-1]
                yield from reversed(lines[:-1])
                whole = True
            rest = head if len(head) < LONGEST_LINE else b""
        if whole and rest:
            yield rest


def _moment(text: bytes) -> float | None:
    """When a request was over, without the rest of its line being read."""
    found = TIME.match(text)
    return float(found[1]) if found else None


def _json(text: bytes) -> Line:
    """An empty one where it is no JSON object."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _parsed(text: bytes) -> Line | None:
    """None for a line that tells of no request."""
    line = _json(text)
    try:
        _asked_by(line)
        float(line["at"]), int(line["status"]), str.encode(line["request_id"])
    except (ValueError, KeyError, TypeError):
        return None
    return line


def _asked_by(line: Line) -> tuple[str, str]:
    return asked_by({"route": "", **line})


def _is_broken(line: Line) -> bool:
    return str(line.get("broken")) == "1"


def _asked(line: Line, late: Settlements) -> LoggedRequest:
    rule, route = _asked_by(line)
    return LoggedRequest(
        request_id=line["request_id"], at=iso(float(line["at"])), status=int(line["status"]),
        broken=_is_broken(line), rule=rule, route=route, seconds=float(line.get("seconds", 0.0)),
        charged=late.charged(line), answer=Answer.parse(line.get("answer")),
        endpoint=str(line.get("endpoint", line.get("path", ""))),
        **{name: str(line.get(name, "")) for name in (
            "subject", "method", "path", "deployment", "model", "cache", "handed_on", "waf", "over",
        )},
    )  # fmt: skip


def iso(at: float) -> str:
    """Seconds since 1970 in UTC, ISO 8601, to the millisecond."""
    told = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return told.replace("+00:00", "Z")
