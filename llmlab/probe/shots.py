"""One request and what an answer says of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import httpx2
from pydantic import ValidationError

from llmlab.probe.streams import Streamed
from llmlab.service.schemas import DEPLOYMENT, SummarizeResponse

QUEUE_TIME = re.compile(r"\bqueue;dur=(\d+(?:\.\d+)?)")
REFUSED = (429, 503)
NO_ANSWER, NO_SUMMARY, BROKEN_OFF = 0, -1, -2

Outcome = httpx2.Response | httpx2.RequestError


@dataclass(frozen=True, slots=True)
class Shot:
    """One request. Times in seconds; ``start`` since the run began.

    ``latency`` is from the time at which it should have been sent to its last answer, ``took``
    the part of that for the last try, ``late`` how long after its time it was first sent.
    ``status`` is 0 where there was no answer, -1 where a 200 held no summary, -2 where a stream
    ended before its end. ``tries`` counts the first one too. ``queue`` is None where the answer
    does not tell.

    Of a chat: ``first`` is from the time at which it should have been sent to the first token,
    ``writing`` from there to the last one, ``gaps`` what passed between two.
    """

    start: float
    latency: float
    status: int
    took: float = 0.0
    late: float = 0.0
    tries: int = 1
    queue: float | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    cached: bool = False
    model: str = ""
    deployment: str = ""
    first: float | None = None
    writing: float = 0.0
    gaps: Sequence[float] = ()
    cut_off: bool = False

    @property
    def ok(self) -> bool:
        return self.status == 200

    @property
    def refused(self) -> bool:
        return self.status in REFUSED

    @property
    def kind(self) -> str:
        """What became of it, in a word or two."""
        if self.ok:
            return "cached" if self.cached else "summary"
        if self.refused:
            return "refused"
        return "no answer" if self.status == NO_ANSWER else "error"


def shot_of(
    outcome: Outcome, *, start: float, latency: float, took: float, late: float, tries: int
) -> Shot:
    """What an outcome says of its request."""
    if isinstance(outcome, httpx2.RequestError):
        return Shot(start, latency, NO_ANSWER, took, late, tries)
    shot = Shot(start, latency, outcome.status_code, took, late, tries,
                deployment=outcome.headers.get(DEPLOYMENT, ""))  # fmt: skip
    if outcome.status_code != 200:
        return shot
    try:
        answer = SummarizeResponse.model_validate_json(outcome.content)
    except ValidationError:
        return replace(shot, status=NO_SUMMARY)
    queue = QUEUE_TIME.search(outcome.headers.get("Server-Timing", ""))
    return replace(
        shot,
        queue=float(queue[1]) / 1000 if queue else None,
        tokens_in=answer.usage.input_tokens, tokens_out=answer.usage.output_tokens,
        cached=outcome.headers.get("X-Cache", "miss") != "miss",
        model=answer.model.name,
    )  # fmt: skip


def chat_shot_of(
    outcome: Outcome,
    streamed: Streamed,
    *,
    intended: float,
    begin: float,
    latency: float,
    took: float,
    late: float,
    tries: int,
) -> Shot:
    """What a stream says of its request.

    Args:
        intended: when it should have been sent, on the clock of the stream.
        begin: of the run, on the same.
    """
    shot = Shot(intended - begin, latency, NO_ANSWER, took, late, tries)
    if isinstance(outcome, httpx2.RequestError):
        return shot if streamed.first is None else replace(shot, status=BROKEN_OFF)
    shot = replace(shot, status=outcome.status_code, deployment=outcome.headers.get(DEPLOYMENT, ""))
    if outcome.status_code != 200:
        return shot
    if not streamed.whole or streamed.first is None or streamed.last is None:
        return replace(shot, status=BROKEN_OFF)
    return replace(
        shot,
        tokens_in=streamed.tokens_in, tokens_out=streamed.tokens_out, model=streamed.model,
        first=streamed.first - intended, writing=streamed.last - streamed.first,
        gaps=streamed.gaps, cut_off=streamed.cut_off,
    )  # fmt: skip


def refusal_of(outcome: Outcome) -> list[str]:
    """Who turned a request away, if anybody did, and whether it said when to come back."""
    if not isinstance(outcome, httpx2.Response) or outcome.status_code not in REFUSED:
        return []
    # The API puts its model's name on whatever it answers; the gateway's own answers have none.
    who = "api" if "X-Model" in outcome.headers else "gateway"
    return [who] if "Retry-After" in outcome.headers else [who, "unexplained"]
