"""The gateway's access log, read line by line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from llmlab.answered import Answer
from llmlab.names import SUMMARIZE

BROKEN = 502
BY_SHARE = ("stable", "split")  # how requests are routed that no match has taken


@dataclass(frozen=True)
class Access:
    """A request, as the gateway tells of it when it is over.

    Args:
        at: when it was over, in seconds since 1970.
        status: of the answer; 502 for a stream that its model broke off, whose head has said 200.
        deployment: who was asked; "" where nobody was, because the gateway refused it.
        seconds: from the first byte of the request to the last byte of the answer.
        rule: how the deployment was decided, see nginx.conf.
        route: which public name was asked for; "" for a deployment.
        revision: of the routes that held.
        answer: what its API has told of it; None where it told nothing.
    """

    at: float
    deployment: str
    status: int
    seconds: float
    rule: str = ""
    revision: int = 0
    route: str = ""
    answer: Answer | None = None

    @property
    def by_share(self) -> bool:
        """Whether the shares decided where it went."""
        return bool(self.deployment) and self.rule in BY_SHARE


def read(line: str) -> Access | None:
    """One line of the log; None for one that tells of no request."""
    try:
        told = json.loads(line)
        # The gateway knows where a request would go before it looks at its token.
        asked = told["upstream_status"] != ""
        rule, route = asked_by({"route": "", **told})
        return Access(
            at=_moment(told),
            deployment=told["deployment"] if asked else "",
            status=BROKEN if str(told.get("broken")) == "1" else int(told["status"]),
            seconds=float(told["seconds"]),
            rule=rule or _rule(told["path"]),
            revision=int(told.get("revision") or 0),
            route=route,
            answer=Answer.parse(told.get("answer")),
        )
    except (ValueError, KeyError, TypeError):
        return None


def asked_by(told: Mapping[str, Any]) -> tuple[str, str]:
    """(rule, route) of a line. Before there were several routes, it said the rule as `route`.

    Raises:
        KeyError: it says neither.
    """
    if "rule" in told:
        return str(told["rule"]), str(told["route"])
    rule = str(told["route"])
    return rule, "" if rule == "model" else SUMMARIZE


def _moment(told: dict[str, Any]) -> float:
    if "at" in told:
        return float(told["at"])
    return datetime.fromisoformat(told["time"]).timestamp()


def _rule(path: str) -> str:
    """Of a gateway whose nginx.conf is from before there were routes."""
    return "model" if path.startswith("/models/") else "stable"
