"""What a line of the gateway's access log tells of a deployment."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmlab.answered import Answer
from llmlab.names import SUMMARIZE
from llmlab.observe.access import asked_by
from llmlab.service.schemas import OWN_LIMIT

ROUTED = ("stable", "split")  # not those who asked for a deployment by name or flag
HANDED_ON = "fallback"
# The API's addresses whose answers are a model's.
MODELS = ("/summarize/", "/v1/chat/completions", "/v1/completions")
CLIENT_LEFT, TOO_MANY = 499, 429
BROKEN, GIVEN_UP = "1", "2"  # of a stream, see gateway/streams.js
QUEUE = re.compile(r"\bqueue;dur=(\d+(?:\.\d+)?)")  # milliseconds


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer of a deployment, or what a client got instead of one.

    Args:
        seconds: that it took once it had its turn; None where it says nothing of the model.
        gave_up: the client waited no longer. ``seconds`` is then how long it had waited.
        refused: the API found the request wrong.
        again: a client's library sends it once more by itself.
        answer: what the API said of it once it was over; None where it said nothing.
        subject: who asked.
        at: seconds since 1970.
        route: which public name was asked for.
    """

    deployment: str
    error: bool
    seconds: float | None = None
    gave_up: bool = False
    subject: str = ""
    at: float = 0.0
    refused: bool = False
    route: str = SUMMARIZE
    again: bool = False
    answer: Answer | None = None


def seen_in(line: str) -> Seen | None:
    """What a line of the gateway's access log tells of a deployment; None for nothing.

    Errors are answers from 500 on, and streams that end with a failure of the model. An API's own
    429 is one too: the deployment had no place for the request. Nobody blames a deployment for the
    gateway's rate limit or for a request that was wrong: whoever has a token could else decide a
    rollout; how many its API refused is counted all the same. One whose client left (499), or gave
    it too little time, is no error either; but the time that it had is known.

    Seconds are those after the queue, where the API tells it: how many requests wait is a matter of
    the load. Nor do they have in them how slowly a client sends.
    """
    try:
        told: Mapping[str, Any] = json.loads(line)
        name, status = str(told["deployment"]), int(told["status"])
        # A line of an earlier nginx.conf says no more than the path, as the client spelled it.
        endpoint = told.get("endpoint", told["path"])
        rule, route = asked_by(told)
        if endpoint not in MODELS or told["method"] != "POST" or rule not in (*ROUTED, HANDED_ON):
            return None
        who: dict[str, Any] = {
            "subject": str(told.get("subject", "")), "at": float(told.get("at", 0.0)),
            "route": route, "again": bool(told.get("retry")),
        }  # fmt: skip
        if told.get("handed_on"):  # it could not answer: another deployment did in its place
            return Seen(str(told["handed_on"]), True, **who)
        by_api = str(told["upstream_status"]).endswith(str(status))
        timing = str(told["timing"])
        seconds = max(0.0, _upstream_seconds(told) - _queue_seconds(timing))
    except (ValueError, KeyError, TypeError):
        return None
    ended, answer = str(told.get("broken", "")), Answer.parse(told.get("answer"))
    gave_up = status == CLIENT_LEFT or OWN_LIMIT in timing or ended == GIVEN_UP
    if not name:
        return None
    if gave_up:
        return Seen(name, False, seconds, gave_up=True, **who)
    if 400 <= status < 500 and not by_api:
        return None
    if 400 <= status < 500 and status != TOO_MANY:
        return Seen(name, False, refused=True, **who)
    if status >= 400 or ended == BROKEN:
        return Seen(name, True, answer=answer, **who)
    # An answer that was kept from before says nothing of the model, and the candidate, being
    # new, has none.
    kept = told.get("cache") == "hit"
    return Seen(name, False, None if kept else seconds, answer=answer, **who)


def _upstream_seconds(told: Mapping[str, Any]) -> float:
    """Of all tries; a list like "0.003, 0.120", with a dash for one that was never sent."""
    tries = re.split(r", | : ", str(told["upstream_seconds"]))
    return sum(float(one) for one in tries if one != "-")


def _queue_seconds(timing: str) -> float:
    return sum(float(one) / 1000 for one in QUEUE.findall(timing))
