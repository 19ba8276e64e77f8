"""The gateway's access log, which Docker keeps: its timestamps say what was given out before."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from llmlab.errors import UsageError

CURSOR = re.compile(r"(\d{4}-\d\d-\d\dT[0-9:]{8}\.\d{9}Z)#(\d+)")


class LogLines:
    """Lines with a cursor of their own: the last one's time, and how many had that time."""

    def __init__(self, cursor: str) -> None:
        """
        Raises:
            UsageError: it is no cursor.
        """
        found = CURSOR.fullmatch(cursor)
        if not found and cursor not in ("", "0"):
            raise UsageError(f"{cursor!r} is no place in the access log")
        self.time, self.given = (found[1], int(found[2])) if found else ("", 0)
        self.lines: list[str] = []

    def read(self, log: str) -> None:
        """Take what is new in a log, each line with Docker's time before it."""
        seen = 0
        for line in log.split("\n"):  # not splitlines: a subject may hold U+2028
            time, _, text = line.partition(" ")
            if not time or time < self.time:
                continue
            seen = seen + 1 if time == self.time else 1
            if time == self.time and seen <= self.given:
                continue
            self.time, self.given = time, seen
            if text.startswith("{"):
                self.lines.append(text)

    @property
    def cursor(self) -> str:
        return f"{self.time}#{self.given}" if self.time else "0"

    @property
    def since(self) -> float | None:
        """For Docker, which takes seconds: somewhat earlier than it has to be."""
        if not self.time:
            return None
        return datetime.fromisoformat(f"{self.time[:19]}+00:00").timestamp()


def lines_since(container: Any, cursor: str, *, after: float = 0.0) -> tuple[list[str], str]:
    """Of a container of the Docker SDK; see ``Engine.requests_since``."""
    options: dict[str, Any] = {"stdout": True, "stderr": False, "timestamps": True}
    log = LogLines(cursor)
    if cursor == "":
        log.read(container.logs(**options, tail=1).decode(errors="replace"))
        # It may not be the only one of its time.
        log = LogLines(f"{log.time}#0" if log.time else "0")
    if log.since is not None or after:
        options["since"] = log.since if log.since is not None else after
    log.read(container.logs(**options).decode(errors="replace"))
    return ([] if cursor == "" else log.lines), log.cursor
